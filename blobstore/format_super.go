package blobstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Superblock: page 0 of the device. All integers are little-endian; "pages" are 4096-byte pages from the start of the
// device.
//
//	OFFSET  SIZE  FIELD
//	     0     8  signature "SPDKBLOB"
//	     8     4  version: 1 to 3, or versionDirty while one of our writers has the store open
//	    12     4  length of the superblock in bytes, 4096
//	    16     4  clean: 1 after a clean close, 0 otherwise
//	    20     8  super blob id, all ones if there is none
//	    28     4  cluster size in bytes
//	    32     4  used-page mask: first page
//	    36     4  used-page mask: length in pages
//	    40     4  used-cluster mask: first page
//	    44     4  used-cluster mask: length in pages
//	    48     4  metadata region: first page
//	    52     4  metadata region: length in pages
//	    56    16  type of the store (bstype), zero-padded
//	    72     4  used-blob-id mask: first page (version 2 and later)
//	    76     4  used-blob-id mask: length in pages
//	    80     8  size of the store in bytes (version 3)
//	    88     4  io unit size in bytes: the block size of the device it was made on (version 3)
//	    92     4  metadata page size in bytes; 0 means 4096 (written since SPDK v25.01)
//	    96  3996  reserved, zero
//	  4092     4  CRC-32C of bytes 0 to 4091
const (
	superSize      = pageSize
	superFields    = 96 // bytes that carry fields; the rest is zero up to the CRC
	superCRCOffset = 4092
	superSignature = "SPDKBLOB"

	superOffVersion     = 8
	superOffLength      = 12
	superOffClean       = 16
	superOffSuperBlob   = 20
	superOffClusterSize = 28
	superOffPageMask    = 32
	superOffClusterMask = 40
	superOffMD          = 48
	superOffType        = 56
	superOffBlobIDMask  = 72
	superOffDeviceSize  = 80
	superOffIOUnit      = 88
	superOffMDPageSize  = 92
)

// Versions of the superblock.
const (
	// versionSPDK is the version SPDK writes: size and io unit size were added. Version 2 added the mask of used blob ids.
	versionSPDK = 3
	// versionDirty is carried while a store is open for writing by this package. SPDK accepts versions 1 to 3, so it can
	// never open a store whose journal may hold something.
	versionDirty = 0x80000003
)

// layoutVersion is the version of the layout of a superblock, whether or not it is open for writing.
func layoutVersion(v uint32) uint32 {
	if v == versionDirty {
		return versionSPDK
	}
	return v
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// region is a run of pages, counted from the start of the device.
type region struct{ start, length uint32 }

// end is the page after the region.
func (r region) end() uint64 { return uint64(r.start) + uint64(r.length) }

// superState is what in-place writes of a superblock change besides its CRC.
type superState struct{ version, clean uint32 }

// superblock is the decoded superblock.
type superblock struct {
	version      uint32
	clean        uint32
	superBlob    BlobID // noBlob if there is none
	clusterSize  uint32 // bytes
	pageMask     region // used metadata pages
	clusterMask  region // used clusters
	md           region // metadata pages
	bstype       [16]byte
	blobIDMask   region // used blob ids
	size         uint64 // bytes of the device that belong to the store; 0 before version 3
	ioUnitSize   uint32 // bytes
	mdPageSize   uint32 // bytes; 0 means 4096
	torn         bool   // in memory only: the CRC is that of another legal state (see unmarshalTorn)
	crcCandidate superState
}

// state is the part that opening and closing change.
func (s *superblock) state() superState { return superState{s.version, s.clean} }

// typeName is the bstype without its padding.
func (s *superblock) typeName() string { return string(bytes.TrimRight(s.bstype[:], "\x00")) }

// marshal writes the superblock with its CRC into b, which is exactly one page.
func (s *superblock) marshal(b []byte) error {
	if len(b) != superSize {
		return fmt.Errorf("superblock: buffer of %d bytes, want %d", len(b), superSize)
	}
	clear(b)
	s.putFields(b)
	le := binary.LittleEndian
	le.PutUint32(b[superCRCOffset:], crc32.Checksum(b[:superCRCOffset], castagnoli))
	return nil
}

func (s *superblock) putFields(b []byte) {
	le := binary.LittleEndian
	copy(b, superSignature)
	le.PutUint32(b[superOffVersion:], s.version)
	le.PutUint32(b[superOffLength:], superSize)
	le.PutUint32(b[superOffClean:], s.clean)
	le.PutUint64(b[superOffSuperBlob:], uint64(s.superBlob))
	le.PutUint32(b[superOffClusterSize:], s.clusterSize)
	putRegion(b[superOffPageMask:], s.pageMask)
	putRegion(b[superOffClusterMask:], s.clusterMask)
	putRegion(b[superOffMD:], s.md)
	copy(b[superOffType:], s.bstype[:])
	putRegion(b[superOffBlobIDMask:], s.blobIDMask)
	le.PutUint64(b[superOffDeviceSize:], s.size)
	le.PutUint32(b[superOffIOUnit:], s.ioUnitSize)
	le.PutUint32(b[superOffMDPageSize:], s.mdPageSize)
}

func putRegion(b []byte, r region) {
	binary.LittleEndian.PutUint32(b, r.start)
	binary.LittleEndian.PutUint32(b[4:], r.length)
}

func getRegion(b []byte) region {
	return region{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
}

// getFields reads every field without judging any.
func (s *superblock) getFields(b []byte) {
	le := binary.LittleEndian
	*s = superblock{
		version:     le.Uint32(b[superOffVersion:]),
		clean:       le.Uint32(b[superOffClean:]),
		superBlob:   BlobID(le.Uint64(b[superOffSuperBlob:])),
		clusterSize: le.Uint32(b[superOffClusterSize:]),
		pageMask:    getRegion(b[superOffPageMask:]),
		clusterMask: getRegion(b[superOffClusterMask:]),
		md:          getRegion(b[superOffMD:]),
		blobIDMask:  getRegion(b[superOffBlobIDMask:]),
		size:        le.Uint64(b[superOffDeviceSize:]),
		ioUnitSize:  le.Uint32(b[superOffIOUnit:]),
		mdPageSize:  le.Uint32(b[superOffMDPageSize:]),
	}
	copy(s.bstype[:], b[superOffType:])
	s.crcCandidate = s.state()
}

// unmarshal reads a superblock: signature, version and CRC are checked, the fields are validate's.
// Its errors are ErrNotBlobstore, ErrNewerVersion and ErrCorrupt.
func (s *superblock) unmarshal(b []byte) error { return s.unmarshalTorn(b, nil) }

// unmarshalTorn is unmarshal that also accepts a torn write between two of the legal states: the fields are in the
// first sector, the CRC in the last, and in-place writes change nothing but version, clean and CRC. If the CRC is
// not that of the fields but that of the same superblock in another legal state, torn is set and crcCandidate is
// the state the CRC belongs to; version and clean are those of the first sector.
func (s *superblock) unmarshalTorn(b []byte, legal []superState) error {
	if len(b) != superSize {
		return fmt.Errorf("superblock: buffer of %d bytes, want %d", len(b), superSize)
	}
	if isFormatMark(b) {
		return fmt.Errorf("%w: making a store here was interrupted", ErrNotBlobstore)
	}
	if string(b[:len(superSignature)]) != superSignature {
		return fmt.Errorf("%w: no superblock signature %q", ErrNotBlobstore, superSignature)
	}
	s.getFields(b)
	if s.checkCRC(b) {
		return s.checkVersion()
	}
	if s.matchTorn(b, legal) {
		return nil
	}
	want := crc32.Checksum(b[:superCRCOffset], castagnoli)
	got := binary.LittleEndian.Uint32(b[superCRCOffset:])
	return corruptf(superCRCOffset, "superblock: crc", hex32(want), hex32(got))
}

func (s *superblock) checkCRC(b []byte) bool {
	return crc32.Checksum(b[:superCRCOffset], castagnoli) == binary.LittleEndian.Uint32(b[superCRCOffset:])
}

func (s *superblock) checkVersion() error {
	if v := s.version; v == versionDirty || v >= 1 && v <= versionSPDK {
		return nil
	}
	return fmt.Errorf("%w: version %#x, this program reads 1 to %d", ErrNewerVersion, s.version, versionSPDK)
}

// matchTorn looks for the legal state whose CRC is stored, if the fields themselves are in a legal state.
func (s *superblock) matchTorn(b []byte, legal []superState) bool {
	if !containsState(legal, s.state()) {
		return false
	}
	img := append([]byte(nil), b...)
	for _, st := range legal {
		binary.LittleEndian.PutUint32(img[superOffVersion:], st.version)
		binary.LittleEndian.PutUint32(img[superOffClean:], st.clean)
		if s.checkCRC(img) {
			s.torn, s.crcCandidate = true, st
			return true
		}
	}
	return false
}

func containsState(states []superState, s superState) bool {
	for _, st := range states {
		if st == s {
			return true
		}
	}
	return false
}

func hex32(v uint32) string { return fmt.Sprintf("%#08x", v) }
