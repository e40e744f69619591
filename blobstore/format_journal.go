package blobstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The journal lives in a blob of its own, found by its xattr. Its blocks have the size of a metadata page, 4096 bytes:
//
//	BLOCK             CONTENT
//	    0, 1          header slots, written in turn: slot = generation mod 2
//	    2             image area: header and page list of the newest checkpoint's images (imageHeader)
//	    2+d           image area: the images, as many as journalGeometry says
//	    2+d+k         ring of frames; position p (in blocks, monotonic) is ring block p mod r
//
// docs/format-journal.md tells the story; the bytes are here.
const (
	journalXattr      = "blobkv.journal"
	reservedXattrs    = "blobkv." // prefix of names that belong to this package
	journalVersion    = 1
	journalBlock      = pageSize
	journalSectorSize = 512 // headers fit one sector, which the device writes whole or not at all
	journalSlots      = 2
	minJournalBlocks  = 64
	maxJournalImages  = 2048
)

var (
	journalHeaderMagic = [8]byte{'B', 'K', 'V', 'J', 'H', 'E', 'A', 'D'}
	journalImageMagic  = [8]byte{'B', 'K', 'V', 'J', 'I', 'M', 'G', 'S'}
	journalFrameMagic  = [4]byte{'B', 'K', 'V', 'F'}
)

// storeUUID tells the journal of one store from leftovers of another.
type storeUUID [16]byte

func (u storeUUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// journalGeometry says how many blocks of a journal blob serve which purpose.
type journalGeometry struct {
	blocks      int // of the whole blob
	imageHeader int // blocks of the image area's header and page list
	images      int // metadata pages that one checkpoint can change
	ring        int
}

// geometryOf divides a journal of n blocks: a quarter for images, the rest for the ring.
func geometryOf(n int) journalGeometry {
	g := journalGeometry{blocks: n, images: min(n/4, maxJournalImages)}
	g.imageHeader = ceilDiv(imageListOffset+imageEntrySize*g.images, journalBlock)
	g.ring = n - journalSlots - g.imageHeader - g.images
	return g
}

func (g journalGeometry) imageBlock() int { return journalSlots }
func (g journalGeometry) ringBlock() int  { return journalSlots + g.imageHeader + g.images }

// maxFrame is the longest frame in bytes, a whole number of blocks: at least four fit the ring.
func (g journalGeometry) maxFrame() int { return min(g.ring/4*journalBlock, 1<<20) }

// journalTag is the value of the xattr that makes a blob the journal.
//
//	OFFSET  SIZE  FIELD
//	     0     4  version
//	     4     8  features: unknown bit, the store is refused
//	    12     8  features: unknown bit, the store's data is read-only
//	    20     8  features: unknown bit, the store's metadata is read-only
//	    28    16  uuid of the store
//	    44     4  index of the md page that carries the xattr: a copy elsewhere does not count
type journalTag struct {
	invalid, dataRO, mdRO uint64
	uuid                  storeUUID
	page                  pageIndex
}

const journalTagSize = 48

func (t *journalTag) marshal() []byte {
	b := make([]byte, journalTagSize)
	le := binary.LittleEndian
	le.PutUint32(b, journalVersion)
	le.PutUint64(b[4:], t.invalid)
	le.PutUint64(b[12:], t.dataRO)
	le.PutUint64(b[20:], t.mdRO)
	copy(b[28:], t.uuid[:])
	le.PutUint32(b[44:], uint32(t.page))
	return b
}

// readable reports whether a tag that is ErrNewerVersion allows to read a store whose journal holds nothing: it has
// features of the lesser tiers only.
func (t *journalTag) readable() bool { return t.invalid == 0 && t.dataRO|t.mdRO != 0 }

// unmarshal reads the tag found on md page self. A feature this version does not know is ErrNewerVersion: all tiers are
// refused, because none has been defined yet that could be honoured partly; the tag is complete but for a newer version.
func (t *journalTag) unmarshal(b []byte, self pageIndex) error {
	le := binary.LittleEndian
	if len(b) < journalTagSize {
		return corruptf(0, "journal xattr: length", fmt.Sprint(journalTagSize), fmt.Sprint(len(b)))
	}
	if v := le.Uint32(b); v != journalVersion {
		return fmt.Errorf("%w: journal version %d, this program knows %d", ErrNewerVersion, v, journalVersion)
	}
	t.invalid, t.dataRO, t.mdRO = le.Uint64(b[4:]), le.Uint64(b[12:]), le.Uint64(b[20:])
	copy(t.uuid[:], b[28:44])
	t.page = pageIndex(le.Uint32(b[44:]))
	if t.page != self {
		return corruptf(44, "journal xattr: page", fmt.Sprint(self), fmt.Sprint(t.page))
	}
	if f := t.invalid | t.dataRO | t.mdRO; f != 0 {
		return fmt.Errorf("%w: journal features %#x", ErrNewerVersion, f)
	}
	return nil
}

// journalHeader is what one header slot holds: where the state of the newest checkpoint is, and where redo begins.
//
//	OFFSET  SIZE  FIELD
//	     0     8  magic "BKVJHEAD"
//	     8     4  version
//	    12     4  slot, 0 or 1: the block's own address
//	    16    16  uuid of the store
//	    32     8  generation, one more than that of the other slot; slot = generation mod 2
//	    40     8  session: random, new at each open for writing; frames of another session do not count
//	    48     8  checkpoint: md pages in place are the state after this transaction (LSN)
//	    56     8  start: ring position in blocks of the first frame after the checkpoint
//	    64     8  sequence of that frame
//	    72     8  checksum of the frame before it (chain seed)
//	    80     4  md high water: md pages from here on are unused, in pages
//	    84     4  blocks of the journal: geometry
//	    88     4  state: 0 open, 1 closed (the ring is empty, the masks are in place)
//	    92   416  reserved, zero
//	   508     4  CRC-32C of bytes 0 to 507
type journalHeader struct {
	uuid       storeUUID
	generation uint64
	session    uint64
	checkpoint LSN
	start      uint64
	sequence   uint64
	chain      uint64
	highWater  uint32
	blocks     uint32
	closed     bool
}

const journalSumOffset = journalSectorSize - 4

func (h *journalHeader) slot() int { return int(h.generation % journalSlots) }

// marshal fills one block.
func (h *journalHeader) marshal(b []byte) {
	clear(b[:journalBlock])
	le := binary.LittleEndian
	copy(b, journalHeaderMagic[:])
	le.PutUint32(b[8:], journalVersion)
	le.PutUint32(b[12:], uint32(h.slot()))
	copy(b[16:], h.uuid[:])
	le.PutUint64(b[32:], h.generation)
	le.PutUint64(b[40:], h.session)
	le.PutUint64(b[48:], uint64(h.checkpoint))
	le.PutUint64(b[56:], h.start)
	le.PutUint64(b[64:], h.sequence)
	le.PutUint64(b[72:], h.chain)
	le.PutUint32(b[80:], h.highWater)
	le.PutUint32(b[84:], h.blocks)
	if h.closed {
		le.PutUint32(b[88:], 1)
	}
	le.PutUint32(b[journalSumOffset:], crc32.Checksum(b[:journalSumOffset], castagnoli))
}

// unmarshal reads and checks a header that should be of store uuid. The address is checked before the checksum.
func (h *journalHeader) unmarshal(b []byte, uuid storeUUID) error {
	le := binary.LittleEndian
	if err := checkJournalSector(b, journalHeaderMagic, "journal header"); err != nil {
		return err
	}
	copy(h.uuid[:], b[16:32])
	if h.uuid != uuid {
		return corruptf(16, "journal header: uuid", uuid.String(), h.uuid.String())
	}
	h.generation = le.Uint64(b[32:])
	h.session = le.Uint64(b[40:])
	h.checkpoint = LSN(le.Uint64(b[48:]))
	h.start = le.Uint64(b[56:])
	h.sequence = le.Uint64(b[64:])
	h.chain = le.Uint64(b[72:])
	h.highWater = le.Uint32(b[80:])
	h.blocks = le.Uint32(b[84:])
	h.closed = le.Uint32(b[88:]) == 1
	if slot := le.Uint32(b[12:]); int(slot) != h.slot() {
		return corruptf(12, "journal header: slot", fmt.Sprint(h.slot()), fmt.Sprint(slot))
	}
	return nil
}

// validate checks a header against the store it was found in.
func (h *journalHeader) validate(g journalGeometry, mdPages int) error {
	if int(h.blocks) != g.blocks {
		return corruptf(84, "journal header: blocks", fmt.Sprint(g.blocks), fmt.Sprint(h.blocks))
	}
	if h.sequence == 0 {
		return corruptf(64, "journal header: sequence", "1 or more", "0")
	}
	if int64(h.highWater) > int64(mdPages) {
		return corruptf(80, "journal header: md high water", fmt.Sprintf("at most %d", mdPages), fmt.Sprint(h.highWater))
	}
	return nil
}

// checkJournalSector checks magic, version and checksum of a sector that carries a header.
func checkJournalSector(b []byte, magic [8]byte, what string) error {
	le := binary.LittleEndian
	if len(b) < journalSectorSize {
		return fmt.Errorf("%s: buffer of %d bytes, want %d", what, len(b), journalSectorSize)
	}
	if [8]byte(b[:8]) != magic {
		return corruptf(0, what+": magic", fmt.Sprintf("%q", magic[:]), fmt.Sprintf("%q", b[:8]))
	}
	want, got := crc32.Checksum(b[:journalSumOffset], castagnoli), le.Uint32(b[journalSumOffset:])
	if want != got {
		return corruptf(journalSumOffset, what+": crc", hex32(want), hex32(got))
	}
	if v := le.Uint32(b[8:]); v != journalVersion {
		return fmt.Errorf("%w: %s version %d, this program knows %d", ErrNewerVersion, what, v, journalVersion)
	}
	return nil
}

// imageHeader begins the image area. The images count only if everything here is right and their checksum too: then
// the checkpoint with this generation is complete, and its header is the one embedded here.
//
//	OFFSET  SIZE  FIELD
//	     0     8  magic "BKVJIMGS"
//	     8     4  version
//	    12     4  number of images
//	    16    16  uuid of the store
//	    32     8  generation of the checkpoint
//	    40     8  checksum (XXH64) of the embedded header, the page list and the images, in this order
//	    48   460  reserved, zero
//	   508     4  CRC-32C of bytes 0 to 507
//	   512   512  first sector of the journal header that completes the checkpoint
//	  1024   8*n  page list: for each image the device page it belongs to (4096-byte pages from the device's start)
type imageHeader struct {
	uuid       storeUUID
	generation uint64
	count      uint32
	sum        uint64
}

const (
	imageEmbedOffset = journalSectorSize
	imageListOffset  = 2 * journalSectorSize
	imageEntrySize   = 8
)

func (h *imageHeader) marshal(b []byte) {
	clear(b[:journalSectorSize])
	le := binary.LittleEndian
	copy(b, journalImageMagic[:])
	le.PutUint32(b[8:], journalVersion)
	le.PutUint32(b[12:], h.count)
	copy(b[16:], h.uuid[:])
	le.PutUint64(b[32:], h.generation)
	le.PutUint64(b[40:], h.sum)
	le.PutUint32(b[journalSumOffset:], crc32.Checksum(b[:journalSumOffset], castagnoli))
}

func (h *imageHeader) unmarshal(b []byte, uuid storeUUID) error {
	if err := checkJournalSector(b, journalImageMagic, "journal images"); err != nil {
		return err
	}
	copy(h.uuid[:], b[16:32])
	if h.uuid != uuid {
		return corruptf(16, "journal images: uuid", uuid.String(), h.uuid.String())
	}
	le := binary.LittleEndian
	h.count = le.Uint32(b[12:])
	h.generation = le.Uint64(b[32:])
	h.sum = le.Uint64(b[40:])
	return nil
}

// frameHeader begins a frame: one append to the ring, a whole number of blocks, zero-padded.
//
//	OFFSET  SIZE  FIELD
//	     0     4  magic "BKVF"
//	     4     2  version
//	     6     2  reserved, zero
//	     8    16  uuid of the store
//	    24     8  session
//	    32     8  sequence, one more than the frame before
//	    40     8  position in the ring, in blocks since the journal was made: the frame's own address
//	    48     8  LSN of the first record; the LSN of the next transaction if there is none
//	    56     8  confirmed: vouched records up to this LSN have their bytes on the device
//	    64     8  durable: newest sequence known to be durable as this frame is written, 0 for none (see lostFrames)
//	    72     4  records
//	    76     4  length of the payload in bytes
//	    80     8  checksum of the frame before (chain)
//	    88     8  checksum (XXH64) of bytes 0 to 87 and of the payload
//	    96     n  records
type frameHeader struct {
	uuid      storeUUID
	session   uint64
	sequence  uint64
	position  uint64
	first     LSN
	confirmed LSN
	durable   uint64
	records   uint32
	payload   uint32
	chain     uint64
	sum       uint64
}

const (
	frameHeaderSize = 96
	frameSumOffset  = 88
)

// frameBlocks is how many ring blocks a frame with that much payload takes.
func frameBlocks(payload int) int { return ceilDiv(frameHeaderSize+payload, journalBlock) }

func (h *frameHeader) blocks() int { return frameBlocks(int(h.payload)) }

// seal writes the header in front of the payload that is in b already, zeroes the padding and returns the frame.
func (h *frameHeader) seal(b []byte) []byte {
	le := binary.LittleEndian
	clear(b[:frameHeaderSize])
	copy(b, journalFrameMagic[:])
	le.PutUint16(b[4:], journalVersion)
	copy(b[8:], h.uuid[:])
	le.PutUint64(b[24:], h.session)
	le.PutUint64(b[32:], h.sequence)
	le.PutUint64(b[40:], h.position)
	le.PutUint64(b[48:], uint64(h.first))
	le.PutUint64(b[56:], uint64(h.confirmed))
	le.PutUint64(b[64:], h.durable)
	le.PutUint32(b[72:], h.records)
	le.PutUint32(b[76:], h.payload)
	le.PutUint64(b[80:], h.chain)
	end := frameHeaderSize + int(h.payload)
	h.sum = frameSum(b[:frameSumOffset], b[frameHeaderSize:end])
	le.PutUint64(b[frameSumOffset:], h.sum)
	frame := b[:h.blocks()*journalBlock]
	clear(frame[end:])
	return frame
}

// unmarshal reads a frame header; whether it belongs here is accept's, whether the payload is whole is verify's question.
func (h *frameHeader) unmarshal(b []byte) error {
	if len(b) < frameHeaderSize {
		return fmt.Errorf("journal frame: buffer of %d bytes, want %d", len(b), frameHeaderSize)
	}
	le := binary.LittleEndian
	if [4]byte(b[:4]) != journalFrameMagic {
		return corruptf(0, "journal frame: magic", fmt.Sprintf("%q", journalFrameMagic[:]), fmt.Sprintf("%q", b[:4]))
	}
	if v := le.Uint16(b[4:]); v != journalVersion {
		return corruptf(4, "journal frame: version", fmt.Sprint(journalVersion), fmt.Sprint(v))
	}
	copy(h.uuid[:], b[8:24])
	h.session = le.Uint64(b[24:])
	h.sequence = le.Uint64(b[32:])
	h.position = le.Uint64(b[40:])
	h.first = LSN(le.Uint64(b[48:]))
	h.confirmed = LSN(le.Uint64(b[56:]))
	h.durable = le.Uint64(b[64:])
	h.records = le.Uint32(b[72:])
	h.payload = le.Uint32(b[76:])
	h.chain = le.Uint64(b[80:])
	h.sum = le.Uint64(b[frameSumOffset:])
	return nil
}

// verify checks the frame's checksum. b is the whole frame.
func (h *frameHeader) verify(b []byte) error {
	want := frameSum(b[:frameSumOffset], b[frameHeaderSize:frameHeaderSize+int(h.payload)])
	if want != h.sum {
		return corruptf(frameSumOffset, "journal frame: checksum", hex64(want), hex64(h.sum))
	}
	return nil
}

func frameSum(header, payload []byte) uint64 {
	var c Checksum
	c.Add(header)
	c.Add(payload)
	return c.Sum()
}

func hex64(v uint64) string { return fmt.Sprintf("%#016x", v) }
