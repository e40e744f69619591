package blobfs

import (
	"fmt"
	"math"
)

// maxFileSize keeps the arithmetic on offsets free of overflow.
const maxFileSize = math.MaxInt64 - 1<<40

// writeAt writes p at off. Bytes go to chunks, chunks to the device once they are full. An error means that the bytes
// behind the returned count were not taken.
func (d *fileData) writeAt(p []byte, off int64) (int, error) {
	if off < 0 || off > maxFileSize-int64(len(p)) {
		return 0, fmt.Errorf("%w: write of %d bytes at offset %d", ErrInvalid, len(p), off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	d.lockForWrite(off, off+int64(len(p)))
	defer d.wmu.Unlock()
	if err := d.prepareWrite(off, off+int64(len(p))); err != nil {
		return 0, err
	}
	n, err := d.putAll(p, off)
	d.fs.stats.user.Add(int64(n))
	d.n.markWritten()
	return n, err
}

// lockForWrite takes wmu. When bytes [lo, hi) are vouched for, it does so between two syncs: the one that is running
// may not have handed the voucher's data to the store yet.
func (d *fileData) lockForWrite(lo, hi int64) {
	d.wmu.Lock()
	if !d.n.vouched.overlaps(d.changes(lo, hi)) {
		return
	}
	d.wmu.Unlock()
	d.syncMu.Lock()
	defer d.syncMu.Unlock()
	d.wmu.Lock()
}

// prepareWrite makes sure that bytes [lo, hi) can be written: nothing that recovery wants to find there, clusters below
// them, no gap before them. The caller holds wmu.
func (d *fileData) prepareWrite(lo, hi int64) error {
	if err := d.fs.writable(); err != nil {
		return err
	}
	if err := d.confirm(lo, hi); err != nil {
		return err
	}
	if err := d.grow(hi); err != nil {
		return err
	}
	if size := d.n.size.Load(); lo > size {
		return d.zeroGap(size, lo)
	}
	return nil
}

// confirm makes the vouchers for bytes [lo, hi) unnecessary before the bytes change. The caller holds wmu.
func (d *fileData) confirm(lo, hi int64) error {
	if !d.n.vouched.overlaps(d.changes(lo, hi)) {
		return nil
	}
	if err := d.fs.store.Confirm(d.n.vouched.lsn); err != nil {
		return err
	}
	d.n.vouched = vouchSpan{}
	return nil
}

// changes is the range of bytes that a write of [lo, hi) changes: of a reused file also the rest of the blocks whose
// content is unspecified. The caller holds wmu.
func (d *fileData) changes(lo, hi int64) (int64, int64) {
	if d.scrap < 0 {
		return lo, hi
	}
	if first := roundDown(lo, d.fs.block); first >= d.scrap {
		lo = first
	}
	if last := roundDown(hi, d.fs.block); last >= d.scrap {
		hi = roundUp(hi, d.fs.block)
	}
	return lo, hi
}

// putAll copies p into chunks and starts the ones it fills. The caller holds wmu.
func (d *fileData) putAll(p []byte, off int64) (int, error) {
	d.settleDone()
	done := 0
	for done < len(p) {
		n, err := d.put(p[done:], off+int64(done))
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// put copies the beginning of p into the chunk for off and returns how much it took. The caller holds wmu.
func (d *fileData) put(p []byte, off int64) (int, error) {
	c, err := d.chunkFor(off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), c.end()-off)]
	end := off + int64(len(p))
	if err := d.ready(c, off, end); err != nil {
		return 0, err
	}
	size := d.n.size.Load()
	touched := c.blocks(off, end, d.fs.block)
	d.mu.Lock()
	copy(c.buf[off-c.off:], p)
	c.valid |= touched
	d.version.Add(1)
	d.n.size.Store(max(size, end))
	d.mu.Unlock()
	c.dirty |= touched
	d.voucher.note(p, off, size)
	if d.scrap >= 0 {
		d.scrap = max(d.scrap, end)
	}
	d.lastEnd = end
	if end == c.end() && end%chunkSize == 0 {
		d.startWrites(c, c.dirty, false)
	}
	return len(p), nil
}

// chunkFor returns the chunk for a write of n bytes at off and makes it current. The caller holds wmu.
func (d *fileData) chunkFor(off, n int64) (*chunk, error) {
	if c := d.find(off); c != nil {
		d.setCurrent(c)
		return c, nil
	}
	if c := d.grownChunk(off, n); c != nil {
		return c, nil
	}
	d.setCurrent(nil)
	start, size := d.place(off, n)
	buf, spare, err := d.getBuffer(size)
	if err != nil {
		return nil, err
	}
	c := &chunk{off: start, buf: buf, spare: spare}
	d.insert(c)
	d.current = c
	return c, nil
}

// setCurrent changes the chunk that is kept although it is clean. The caller holds wmu.
func (d *fileData) setCurrent(c *chunk) {
	old := d.current
	d.current = c
	if old != nil && old != c && old.dirty|old.flying == 0 {
		d.drop(old)
	}
}

// place chooses the range of a new chunk: a full one for a sequential writer in the middle of a file, as little as the
// write needs for others, never across a multiple of chunkSize or into the next chunk. The caller holds wmu.
func (d *fileData) place(off, n int64) (start, size int64) {
	block := d.fs.block
	start = roundDown(off, block)
	limit := d.chunkLimit(off)
	if off == d.lastEnd && off >= chunkSize {
		return start, limit - start
	}
	want := max(roundUp(off+n, block)-start, min(firstChunk, limit-start))
	if off != d.lastEnd {
		want = roundUp(off+n, block) - start
	}
	return start, min(want, limit-start)
}

// chunkLimit is where a chunk that holds off has to end. The caller holds wmu.
func (d *fileData) chunkLimit(off int64) int64 {
	limit := roundDown(off, chunkSize) + chunkSize
	if i := d.search(off); i < len(d.chunks) {
		limit = min(limit, d.chunks[i].off)
	}
	return limit
}

// grownChunk makes the current chunk large enough for a write that continues it, if there is memory to be had at once.
// The caller holds wmu.
func (d *fileData) grownChunk(off, n int64) *chunk {
	c := d.current
	if c == nil || c.end() != off || off%chunkSize == 0 {
		return nil
	}
	limit := d.chunkLimit(off)
	want := min(max(4*int64(len(c.buf)), roundUp(off+n, d.fs.block)-c.off), limit-c.off)
	if want <= int64(len(c.buf)) {
		return nil
	}
	larger, ok := d.fs.writeMem.TryGet(int(want))
	if !ok {
		return nil
	}
	if err := d.settleChunk(c, ^blockMask(0)); err != nil {
		d.fs.writeMem.Put(larger) // the blocks are dirty again; this write goes to a chunk of its own
		return nil
	}
	d.swapBuffer(c, larger)
	return c
}

// ready prepares the blocks of c that bytes [lo, hi) touch: none is in flight, and those that are written only in part
// hold what the file holds there. The caller holds wmu; c is current.
func (d *fileData) ready(c *chunk, lo, hi int64) error {
	block := d.fs.block
	if c.flying != 0 {
		_ = d.settleChunk(c, c.blocks(lo, hi, block)) // failed blocks are dirty again and in memory
	}
	if lo%block != 0 {
		if err := d.load(c, roundDown(lo, block)); err != nil {
			return err
		}
	}
	if hi%block != 0 {
		return d.load(c, roundDown(hi, block))
	}
	return nil
}

// load fills the block of c at offset at with what the file holds there, unless c has it already. The caller holds wmu.
func (d *fileData) load(c *chunk, at int64) error {
	mask := c.blocks(at, at+1, d.fs.block)
	if c.valid&mask != 0 {
		return nil
	}
	buf := c.buf[at-c.off:][:d.fs.block]
	size := d.n.size.Load()
	unspecified := d.scrap >= 0 && at >= d.scrap
	if at >= size || unspecified {
		clear(buf)
	} else if err := d.fetch(buf, at, size); err != nil {
		return err
	}
	d.mu.Lock()
	c.valid |= mask
	d.mu.Unlock()
	return nil
}

// fetch reads one block from the device and zeroes what lies behind the end of the file: bytes that were written there
// and never synced may have survived a crash.
func (d *fileData) fetch(buf []byte, at, size int64) error {
	if err := d.blob.Read(buf, at); err != nil {
		return err
	}
	d.fs.stats.loaded.Add(d.fs.block)
	if size < at+d.fs.block {
		clear(buf[size-at:])
	}
	return nil
}
