package blobstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Descriptors fill the body of a metadata page. Each begins with the same header; a descriptor never crosses pages, and
// type 0 (padding) ends the list.
//
//	OFFSET  SIZE  FIELD
//	     0     1  type
//	     1     4  length of what follows, bytes
const descHeaderSize = 5

// Types of descriptors.
const (
	descPadding       = 0
	descExtentRLE     = 1
	descXattr         = 2
	descFlags         = 3
	descXattrInternal = 4
	descExtentTable   = 5
	descExtentPage    = 6
)

// EXTENT_RLE: the blob's clusters as runs.
//
//	OFFSET  SIZE  FIELD (repeated)
//	     0     4  first cluster on the device, 0 for a run that is not allocated
//	     4     4  clusters
const rleEntrySize = 8

func getExtent(b []byte) extent {
	return extent{clusterIndex(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:])}
}

func putExtent(b []byte, e extent) {
	binary.LittleEndian.PutUint32(b, uint32(e.start))
	binary.LittleEndian.PutUint32(b[4:], e.count)
}

// XATTR and XATTR_INTERNAL: one attribute.
//
//	OFFSET  SIZE  FIELD
//	     0     2  length of the name, bytes
//	     2     2  length of the value, bytes
//	     4     n  name, no NUL
//	   4+n     m  value
const xattrHeaderSize = 4

// maxXattrSize is the longest name and value together that fit a page.
const maxXattrSize = pageBodySize - descHeaderSize - xattrHeaderSize

// Internal attributes of SPDK.
const (
	xattrParent     = "SNAP"    // on a clone: id of its snapshot, 8 bytes
	xattrSnapTmp    = "SNAPTMP" // on a snapshot being made: id of the original
	xattrSnapRemove = "SNAPRM"  // on a snapshot being deleted: id of its clone
	xattrExternal   = "EXTSNAP" // on a clone of an external snapshot: its name
)

// checkXattr reports why an attribute cannot be stored.
func checkXattr(name string, value []byte) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: empty xattr name", ErrInvalid)
	case bytes.IndexByte([]byte(name), 0) >= 0:
		return fmt.Errorf("%w: xattr name %q holds a NUL", ErrInvalid, name)
	case len(name)+len(value) > maxXattrSize:
		return fmt.Errorf("%w: xattr %.40q: %w: name and value are %d bytes, at most %d",
			ErrInvalid, name, errXattrTooLong, len(name)+len(value), maxXattrSize)
	}
	return nil
}

func marshalXattr(b []byte, x xattr) {
	binary.LittleEndian.PutUint16(b, uint16(len(x.name)))
	binary.LittleEndian.PutUint16(b[2:], uint16(len(x.value)))
	copy(b[xattrHeaderSize:], x.name)
	copy(b[xattrHeaderSize+len(x.name):], x.value)
}

// unmarshalXattr reads the body of an attribute's descriptor; name and value alias b.
func unmarshalXattr(b []byte) (name, value []byte, err error) {
	if len(b) < xattrHeaderSize {
		return nil, nil, corruptf(0, "xattr: length", "at least 4", fmt.Sprint(len(b)))
	}
	n, m := int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
	if xattrHeaderSize+n+m != len(b) {
		return nil, nil, corruptf(0, "xattr: lengths", fmt.Sprintf("%d bytes together", len(b)-xattrHeaderSize), fmt.Sprintf("%d+%d", n, m))
	}
	if n == 0 {
		return nil, nil, corruptf(0, "xattr: name length", "not 0", "0")
	}
	return b[xattrHeaderSize : xattrHeaderSize+n], b[xattrHeaderSize+n:], nil
}

// FLAGS: the features a blob uses, in three tiers.
//
//	OFFSET  SIZE  FIELD
//	     0     8  invalid: an unknown bit means the blob cannot be opened
//	     8     8  data_ro: an unknown bit means its data is read-only
//	    16     8  md_ro: an unknown bit means its metadata is read-only
const flagsSize = 24

// blobFlags are the feature flags of a blob.
type blobFlags struct{ invalid, dataRO, mdRO uint64 }

// Flags that SPDK v25 knows.
const (
	flagThin              = 1 << 0 // invalid: thin-provisioned
	flagInternalXattr     = 1 << 1 // invalid: has internal attributes
	flagExtentTable       = 1 << 2 // invalid: extents in extent pages
	flagExternalSnapshot  = 1 << 3 // invalid: clone of a device that is not in the store
	flagDataReadOnly      = 1 << 0 // data_ro
	flagClearMethod       = 3 << 0 // md_ro: how freed clusters are cleared
	knownInvalidFlags     = flagThin | flagInternalXattr | flagExtentTable | flagExternalSnapshot
	knownDataReadOnlyBits = flagDataReadOnly
	knownMDReadOnlyBits   = flagClearMethod
)

// dataReadOnly reports whether the blob's data must not be written.
func (f blobFlags) dataReadOnly() bool { return f.dataRO != 0 }

// mdReadOnly reports whether the blob's metadata must not be changed: an unknown bit of md_ro or data_ro.
func (f blobFlags) mdReadOnly() bool {
	return f.mdRO&^knownMDReadOnlyBits != 0 || f.dataRO&^knownDataReadOnlyBits != 0
}

func (f blobFlags) marshal(b []byte) {
	binary.LittleEndian.PutUint64(b, f.invalid)
	binary.LittleEndian.PutUint64(b[8:], f.dataRO)
	binary.LittleEndian.PutUint64(b[16:], f.mdRO)
}

func (f *blobFlags) unmarshal(b []byte) error {
	if len(b) != flagsSize {
		return corruptf(0, "flags: length", fmt.Sprint(flagsSize), fmt.Sprint(len(b)))
	}
	f.invalid = binary.LittleEndian.Uint64(b)
	f.dataRO = binary.LittleEndian.Uint64(b[8:])
	f.mdRO = binary.LittleEndian.Uint64(b[16:])
	return nil
}

// EXTENT_TABLE: where the extent pages are. This package reads tables and writes runs.
//
//	OFFSET  SIZE  FIELD
//	     0     8  clusters of the blob
//	     8     4  (repeated) metadata page of an extent page, 0 for pages that do not exist
//	    12     4  (repeated) number of pages: 1, or any number for those that do not exist
const (
	tableHeaderSize = 8
	tableEntrySize  = 8
)

// EXTENT_PAGE: the one descriptor of an extent page.
//
//	OFFSET  SIZE  FIELD
//	     0     4  first cluster of the blob that the page maps
//	     4     4  (repeated) cluster on the device, 0 if not allocated
const extentPageHeaderSize = 4

// extentPageClusters is how many clusters one extent page maps.
const extentPageClusters = 512

// unmarshalExtentPage checks an extent page and returns its descriptor's body and that body's offset. The page's id says
// who made it, not whose it is: a snapshot takes over the pages of its original as they are, and a clone those of a
// deleted snapshot.
func unmarshalExtentPage(b []byte) (body []byte, off int, err error) {
	var h pageHeader
	if err := h.unmarshal(b); err != nil {
		return nil, 0, err
	}
	if !h.id.valid() {
		return nil, 0, corruptf(0, "blob id", "a valid one", h.id.String())
	}
	if err := h.check(h.id, 0); err != nil {
		return nil, 0, err
	}
	err = eachDescriptor(b, func(o int, kind byte, d []byte) error {
		if kind != descExtentPage || body != nil {
			return corruptf(o, "descriptor type", "one extent page", fmt.Sprint(kind))
		}
		body, off = d, o+descHeaderSize
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	if len(body) < extentPageHeaderSize || len(body)%4 != 0 || len(body)/4-1 > extentPageClusters {
		return nil, 0, corruptf(pageHeaderSize, "extent page: length", "4 bytes and 4 per cluster, at most 512", fmt.Sprint(len(body)))
	}
	return body, off, nil
}

// isExtentPage reports whether the first descriptor of a page is that of an extent page.
func isExtentPage(b []byte) bool { return b[pageHeaderSize] == descExtentPage }

// eachDescriptor calls f for every descriptor of page b, up to the padding. off is the descriptor's offset in the page.
func eachDescriptor(b []byte, f func(off int, kind byte, body []byte) error) error {
	for off := pageHeaderSize; off+descHeaderSize <= pageBodyEnd; {
		kind, n := b[off], binary.LittleEndian.Uint32(b[off+1:])
		if kind == descPadding {
			return checkPadding(b, off)
		}
		end := uint64(off) + descHeaderSize + uint64(n)
		if end > pageBodyEnd {
			return corruptf(off+1, "descriptor length", fmt.Sprintf("at most %d", pageBodyEnd-off-descHeaderSize), fmt.Sprint(n))
		}
		if err := f(off, kind, b[off+descHeaderSize:end]); err != nil {
			return err
		}
		off = int(end)
	}
	return nil
}

// checkPadding verifies that an end marker has no length, as SPDK does.
func checkPadding(b []byte, off int) error {
	if n := binary.LittleEndian.Uint32(b[off+1:]); n != 0 {
		return corruptf(off+1, "padding length", "0", fmt.Sprint(n))
	}
	return nil
}

// shift moves the offset of a corruption found in a part to its place in the whole.
func shift(err error, by int) error {
	var c *CorruptError
	if errors.As(err, &c) && c.Device == "" {
		c.Offset += int64(by)
	}
	return err
}

func getCluster(b []byte) clusterIndex { return clusterIndex(binary.LittleEndian.Uint32(b)) }
