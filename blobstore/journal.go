package blobstore

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// journal appends frames to the ring of a store that is open for writing. Records are encoded into pending by the
// committer, under Store.mu and without I/O; whoever needs them written becomes the writer.
type journal struct {
	file journalFile
	geo  journalGeometry
	uuid storeUUID

	// writing is held by the one goroutine that appends. It may be held across I/O; Store.mu is taken inside it, never
	// the other way round.
	writing sync.Mutex
	spare   []byte // the other frame buffer; guarded by writing

	// The rest is guarded by Store.mu; what only a writer changes may be read by the writer without it.
	pending  frameBuffer
	next     LSN    // of the next transaction
	written  LSN    // newest transaction whose frame has been written
	carried  LSN    // confirmation that the newest written frame carries
	position uint64 // of the next frame, in blocks
	sequence uint64 // of the next frame
	chain    uint64 // checksum of the newest frame
	start    uint64 // blocks before this position are free for reuse
	session  uint64
	header   journalHeader // newest one that is durable
}

// frameBuffer is a frame under construction: room for its header, then records.
type frameBuffer struct {
	buf     []byte // device memory; len is the payload's end
	records uint32
	first   LSN
	last    LSN
	blocks  int // reserved in the ring: as if every record became a frame of its own
}

// memoryLimit bounds the device memory of one store: two frame buffers of up to 1 MiB and what a checkpoint copies. The
// store has a pool of its own, so that it never waits for those who wait for it.
const memoryLimit = 8 << 20

// copySize is the buffer of bulk copies, in bytes.
const copySize = 256 << 10

func newMemory() *dmabuf.Pool { return dmabuf.NewPool(memoryLimit) }

func newSession() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return binary.LittleEndian.Uint64(b[:])
}

// newJournal takes a journal over at the state its header describes.
func newJournal(file journalFile, h journalHeader) *journal {
	j := &journal{file: file, geo: file.geo, uuid: h.uuid}
	j.resume(h)
	j.pending.buf = file.mem.Get(j.geo.maxFrame())[:frameHeaderSize]
	j.spare = file.mem.Get(j.geo.maxFrame())[:frameHeaderSize]
	return j
}

// resume sets the ring to an empty one that continues at the header's start.
func (j *journal) resume(h journalHeader) {
	j.header = h
	j.next, j.written, j.carried = h.checkpoint+1, h.checkpoint, h.checkpoint
	j.position, j.start, j.sequence, j.chain = h.start, h.start, h.sequence, h.chain
	j.session = h.session
}

// release gives the buffers back. Nobody appends any more.
func (j *journal) release() {
	j.file.mem.Put(j.pending.buf)
	j.file.mem.Put(j.spare)
	j.pending.buf, j.spare = nil, nil
}

// maxRecord is the longest record in bytes.
func (j *journal) maxRecord() int { return j.geo.maxFrame() - frameHeaderSize }

// used is how many ring blocks hold frames or are promised to pending records.
func (j *journal) used() int { return int(j.position-j.start) + j.pending.blocks }

// fits reports whether a record of n bytes can be added to the pending frame.
func (j *journal) fits(n int) bool { return len(j.pending.buf)+n <= j.geo.maxFrame() }

// add appends an encoded record to the pending frame, for which fits and the ring have room, and gives it its LSN.
func (j *journal) add(rec []byte) LSN {
	lsn := j.next
	j.next++
	stampRecord(rec, lsn)
	p := &j.pending
	if p.records == 0 {
		p.first = lsn
	}
	p.buf = append(p.buf, rec...)
	p.records++
	p.last = lsn
	p.blocks += frameBlocks(len(rec))
	return lsn
}

// seal turns the pending records into a frame, even if there are none, and puts an empty buffer in their place. The
// caller is the writer, holds Store.mu and writes the frame before it lets go of the journal.
func (j *journal) seal(confirmed LSN, durable uint64) (frame []byte, h frameHeader, sealed frameBuffer) {
	sealed = j.pending
	if sealed.records == 0 {
		sealed.first, sealed.last = j.next, j.next-1
	}
	h = frameHeader{
		uuid: j.uuid, session: j.session, sequence: j.sequence, position: j.position,
		first: sealed.first, confirmed: confirmed, durable: durable,
		records: sealed.records, payload: uint32(len(sealed.buf) - frameHeaderSize), chain: j.chain,
	}
	frame = h.seal(sealed.buf[:cap(sealed.buf)])
	j.pending = frameBuffer{buf: j.spare[:frameHeaderSize]}
	j.spare = sealed.buf
	j.position += uint64(h.blocks())
	j.sequence++
	j.chain = h.sum
	return frame, h, sealed
}

// journalFile maps the blocks of the journal blob to the device.
type journalFile struct {
	dev  *bdev.Device
	mem  *dmabuf.Pool
	geo  journalGeometry
	runs []mapRun // of the journal blob, in bytes
}

func newJournalFile(dev *bdev.Device, super *superblock, extents []extent, mem *dmabuf.Pool) (journalFile, error) {
	m := newExtentMap(super, extents, nil)
	f := journalFile{dev: dev, mem: mem, geo: geometryOf(int(m.size / journalBlock)), runs: m.runs}
	if f.geo.blocks < minJournalBlocks {
		return f, fmt.Errorf("%w: journal of %d blocks, at least %d needed", ErrUnsupported, f.geo.blocks, minJournalBlocks)
	}
	return f, nil
}

// offset is where block n of the journal is on the device.
func (f *journalFile) offset(n int) int64 {
	off := int64(n) * journalBlock
	for i := range f.runs {
		if r := &f.runs[i]; off < r.off+r.len {
			return r.dev + off - r.off
		}
	}
	return -1
}

// pieces calls fn for each contiguous part of b, which starts at block n of the journal.
func (f *journalFile) pieces(b []byte, n int, fn func(part []byte, dev int64)) {
	off := int64(n) * journalBlock
	for i := range f.runs {
		r := &f.runs[i]
		if len(b) == 0 || off >= r.off+r.len {
			continue
		}
		k := min(int64(len(b)), r.off+r.len-off)
		fn(b[:k], r.dev+off-r.off)
		b, off = b[k:], off+k
	}
}

// write stores b, whole blocks, from block n of the journal on.
func (f *journalFile) write(b []byte, n int) error {
	var batch ioBatch
	f.pieces(b, n, func(part []byte, dev int64) { batch.start(f.dev, bdev.OpWrite, part, dev) })
	if err := batch.wait(f.dev); err != nil {
		return fmt.Errorf("%s: journal block %d at offset %d: %w", f.dev.Name(), n, f.offset(n), err)
	}
	return nil
}

// read fills b, whole blocks, from block n of the journal on.
func (f *journalFile) read(b []byte, n int) error {
	var batch ioBatch
	f.pieces(b, n, func(part []byte, dev int64) {
		for len(part) > 0 { // in pieces, so that the device works on several at a time
			k := min(len(part), 1<<20)
			batch.start(f.dev, bdev.OpRead, part[:k], dev)
			part, dev = part[k:], dev+int64(k)
		}
	})
	if err := batch.wait(f.dev); err != nil {
		return fmt.Errorf("%s: journal block %d at offset %d: %w", f.dev.Name(), n, f.offset(n), err)
	}
	return nil
}

// writeRing stores a frame at its position; it may wrap.
func (f *journalFile) writeRing(frame []byte, position uint64) error {
	at := int(position % uint64(f.geo.ring))
	k := min(len(frame), (f.geo.ring-at)*journalBlock)
	if err := f.write(frame[:k], f.geo.ringBlock()+at); err != nil || k == len(frame) {
		return err
	}
	return f.write(frame[k:], f.geo.ringBlock())
}

// writeHeader stores a header in its slot.
func (f *journalFile) writeHeader(h *journalHeader) error {
	b := f.mem.Get(journalBlock)
	defer f.mem.Put(b)
	h.marshal(b)
	return f.write(b, h.slot())
}
