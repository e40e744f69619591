package blobfs

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/blobkv/blobkv/blobstore"
)

// This file is the on-disk format of blobfs: the extended attributes that make blobs into files and directories. All
// integers are little-endian, all reserved bytes are zero. Attribute names hold no NUL (SPDK treats them as C strings)
// and no value is empty.
//
//	blob                   attribute                              value
//	root directory         blobfs.super                           superValue
//	every file, directory  blobfs.node                            nodeValue
//	one per name           blobfs.link/<parent id, 16 hex>/<name>  linkValue
//	file longer than 0     blobfs.length                          lengthValue
//
// A directory is a blob of zero clusters. A blob without blobfs.node is not ours and is left alone. A blob with it but
// without any link (the root excepted) was unlinked while open and is removed at the next mount for writing.

// StoreType is the bstype of a blobstore that holds a blobfs.
const StoreType = "BLOBKVFS"

// RootID is the blob of the root directory: the first one that is made in a new store.
const RootID = blobstore.FirstBlobID

// MaxName is the longest name of a file or directory, in bytes.
const MaxName = 255

const (
	xattrSuper      = "blobfs.super"
	xattrNode       = "blobfs.node"
	xattrLength     = "blobfs.length"
	xattrLinkPrefix = "blobfs.link/"

	linkIDDigits = 16
	linkNameAt   = len(xattrLinkPrefix) + linkIDDigits + 1 // where the name begins in a link's attribute name
)

// Format version 1: the first.
const formatVersion = 1

// Feature flags this program knows, in the three tiers of SPDK: an unknown invalid flag refuses the mount, an unknown
// data_ro or md_ro flag makes it read-only.
const (
	knownInvalid uint64 = 0
	knownDataRO  uint64 = 0
	knownMDRO    uint64 = 0
)

// superValue is the value of blobfs.super.
//
//	OFFSET SIZE FIELD
//	0      2    format version
//	2      6    reserved
//	8      8    invalid flags
//	16     8    data_ro flags
//	24     8    md_ro flags
type superValue struct {
	version               uint16
	invalid, dataRO, mdRO uint64
}

const superSize = 32

func (v superValue) marshal() []byte {
	b := make([]byte, superSize)
	binary.LittleEndian.PutUint16(b[0:], v.version)
	binary.LittleEndian.PutUint64(b[8:], v.invalid)
	binary.LittleEndian.PutUint64(b[16:], v.dataRO)
	binary.LittleEndian.PutUint64(b[24:], v.mdRO)
	return b
}

func (v *superValue) unmarshal(b []byte) error {
	if err := wantSize(xattrSuper, b, superSize); err != nil {
		return err
	}
	if !isZero(b[2:8]) {
		return reservedError(xattrSuper)
	}
	*v = superValue{
		version: binary.LittleEndian.Uint16(b[0:]),
		invalid: binary.LittleEndian.Uint64(b[8:]),
		dataRO:  binary.LittleEndian.Uint64(b[16:]),
		mdRO:    binary.LittleEndian.Uint64(b[24:]),
	}
	return v.validate()
}

// validate refuses what no program ever wrote; newer versions and flags are mountability's to judge.
func (v superValue) validate() error {
	if v.version == 0 {
		return fmt.Errorf("%w: %s: version 0", ErrCorrupt, xattrSuper)
	}
	return nil
}

// mountable returns an error when the file system cannot be read, and why it can only be read ("" when it can be
// written).
func (v superValue) mountable() (readOnly string, err error) {
	if v.version > formatVersion {
		return "", fmt.Errorf("%w: version %d, this program knows %d", ErrNewerVersion, v.version, formatVersion)
	}
	if f := v.invalid &^ knownInvalid; f != 0 {
		return "", fmt.Errorf("%w: unknown features %#x", ErrNewerVersion, f)
	}
	if f := v.dataRO &^ knownDataRO; f != 0 {
		return fmt.Sprintf("unknown data_ro features %#x", f), nil
	}
	if f := v.mdRO &^ knownMDRO; f != 0 {
		return fmt.Sprintf("unknown md_ro features %#x", f), nil
	}
	return "", nil
}

// nodeKind says what a blob is.
type nodeKind uint8

const (
	kindFile nodeKind = 1
	kindDir  nodeKind = 2
)

// nodeValue is the value of blobfs.node.
//
//	OFFSET SIZE FIELD
//	0      1    version, 1
//	1      1    kind: 1 file, 2 directory
//	2      6    reserved
//	8      8    time of creation, in nanoseconds since 1970
type nodeValue struct {
	kind    nodeKind
	created int64
}

const nodeSize = 16

func (v nodeValue) marshal() []byte {
	b := make([]byte, nodeSize)
	b[0] = formatVersion
	b[1] = byte(v.kind)
	binary.LittleEndian.PutUint64(b[8:], uint64(v.created))
	return b
}

func (v *nodeValue) unmarshal(b []byte) error {
	if err := wantSize(xattrNode, b, nodeSize); err != nil {
		return err
	}
	if b[0] != formatVersion {
		return fmt.Errorf("%w: %s: version %d, expected %d", ErrCorrupt, xattrNode, b[0], formatVersion)
	}
	if !isZero(b[2:8]) {
		return reservedError(xattrNode)
	}
	*v = nodeValue{kind: nodeKind(b[1]), created: int64(binary.LittleEndian.Uint64(b[8:]))}
	return v.validate()
}

func (v nodeValue) validate() error {
	if v.kind != kindFile && v.kind != kindDir {
		return fmt.Errorf("%w: %s: kind %d, expected 1 or 2", ErrCorrupt, xattrNode, v.kind)
	}
	return nil
}

// lengthValue is the value of blobfs.length.
//
//	OFFSET SIZE FIELD
//	0      8    length of the file, in bytes
//	8      8    time of the last change that was synced, in nanoseconds since 1970
type lengthValue struct {
	length  int64
	changed int64
}

const lengthSize = 16

func (v lengthValue) marshal() []byte {
	b := make([]byte, lengthSize)
	binary.LittleEndian.PutUint64(b[0:], uint64(v.length))
	binary.LittleEndian.PutUint64(b[8:], uint64(v.changed))
	return b
}

func (v *lengthValue) unmarshal(b []byte) error {
	if err := wantSize(xattrLength, b, lengthSize); err != nil {
		return err
	}
	*v = lengthValue{
		length:  int64(binary.LittleEndian.Uint64(b[0:])),
		changed: int64(binary.LittleEndian.Uint64(b[8:])),
	}
	return v.validate()
}

func (v lengthValue) validate() error {
	if v.length < 0 {
		return fmt.Errorf("%w: %s: %d bytes", ErrCorrupt, xattrLength, uint64(v.length))
	}
	return nil
}

// linkValue is the value of a blobfs.link attribute. What it says is in the attribute's name.
//
//	OFFSET SIZE FIELD
//	0      1    version, 1
//	1      3    reserved
func linkValue() []byte { return []byte{formatVersion, 0, 0, 0} }

// linkKey is the name of the attribute that gives a blob the name `name` in directory parent.
func linkKey(parent blobstore.BlobID, name string) string {
	var digits [linkIDDigits]byte
	for i := range digits {
		digits[i] = "0123456789abcdef"[uint64(parent)>>(4*(linkIDDigits-1-i))&15]
	}
	return xattrLinkPrefix + string(digits[:]) + "/" + name
}

// parseLinkKey undoes linkKey. ok is false when the attribute is not a link at all.
func parseLinkKey(key string) (parent blobstore.BlobID, name string, ok bool, err error) {
	if !strings.HasPrefix(key, xattrLinkPrefix) {
		return 0, "", false, nil
	}
	bad := func(why string) error { return fmt.Errorf("%w: link %q: %s", ErrCorrupt, key, why) }
	if len(key) <= linkNameAt || key[linkNameAt-1] != '/' {
		return 0, "", true, bad("expected a parent's id and a name")
	}
	digits := key[len(xattrLinkPrefix) : linkNameAt-1]
	id, err := strconv.ParseUint(digits, 16, 64)
	if err != nil || strings.ToLower(digits) != digits {
		return 0, "", true, bad("parent's id is not 16 lower-case hex digits")
	}
	name = key[linkNameAt:]
	if err := checkName(name); err != nil {
		return 0, "", true, bad(err.Error())
	}
	return blobstore.BlobID(id), name, true, nil
}

// checkName says whether a name can stand in a directory.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%w: name %q", ErrInvalid, name)
	case len(name) > MaxName:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrNameTooLong, len(name), MaxName)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%w: name %q holds a slash or NUL", ErrInvalid, name)
	}
	return nil
}

func wantSize(attr string, b []byte, size int) error {
	if len(b) != size {
		return fmt.Errorf("%w: %s: %d bytes, expected %d", ErrCorrupt, attr, len(b), size)
	}
	return nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func reservedError(attr string) error {
	return fmt.Errorf("%w: %s: reserved bytes are not zero", ErrCorrupt, attr)
}

// now is the time that goes to disk, in nanoseconds since 1970.
func now() int64 { return time.Now().UnixNano() }
