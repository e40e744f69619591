package blobfs

import (
	"math/bits"
	"slices"
)

const (
	// chunkSize is the largest write buffer: full ones start at its multiples in the file, so that the device sees large
	// aligned writes. At most 64 blocks, one bit each in a chunk's masks.
	chunkSize = 256 << 10
	// firstChunk is the buffer a file begins with; it grows fourfold until it is a full chunk.
	firstChunk = 16 << 10
	// maxBlocks is the number of bits in a blockMask.
	maxBlocks = 64
)

// blockMask is a set of a chunk's blocks.
type blockMask uint64

// span is the set of blocks [first, first+n).
func span(first, n int) blockMask {
	if n >= maxBlocks {
		return ^blockMask(0) << first
	}
	return (blockMask(1)<<n - 1) << first
}

// run returns the first run of blocks in the set.
func (m blockMask) run() (first, n int) {
	first = bits.TrailingZeros64(uint64(m))
	n = bits.TrailingZeros64(^(uint64(m) >> first))
	return first, n
}

// chunk is a write buffer: consecutive blocks of a file in device memory. Its masks are changed by the holder of wmu;
// valid and the bytes of valid blocks only under mu as well.
type chunk struct {
	off    int64  // in the file; a multiple of the block size
	buf    []byte // whole blocks; the part of the last one behind the end of the file is zero
	spare  bool   // the buffer is beyond the write-behind memory's bound: one block, to get on at all
	valid  blockMask
	dirty  blockMask // valid, newer than the device, no write started
	flying blockMask // valid, being written
}

func (c *chunk) end() int64 { return c.off + int64(len(c.buf)) }

// blocks is the set of blocks that bytes [lo, hi) of the file touch. They lie in the chunk.
func (c *chunk) blocks(lo, hi, block int64) blockMask {
	first := (lo - c.off) / block
	last := (hi - c.off + block - 1) / block
	return span(int(first), int(last-first))
}

// find returns the chunk that holds offset off, nil when none does. The caller holds wmu.
func (d *fileData) find(off int64) *chunk {
	if c := d.current; c != nil && c.off <= off && off < c.end() {
		return c
	}
	i := d.search(off)
	if i < len(d.chunks) && d.chunks[i].off <= off {
		return d.chunks[i]
	}
	return nil
}

// search returns the index of the first chunk that ends behind off. The caller holds wmu or mu.
func (d *fileData) search(off int64) int {
	lo, hi := 0, len(d.chunks)
	for lo < hi {
		mid := (lo + hi) / 2
		if d.chunks[mid].end() > off {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// insert adds a chunk. The caller holds wmu.
func (d *fileData) insert(c *chunk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.chunks = slices.Insert(d.chunks, d.search(c.off), c)
	if d.buffered.Add(1) == 1 {
		d.fs.writeHolders.add(d)
	}
}

// drop removes a chunk and gives its buffer back. Nothing of it is in flight. The caller holds wmu.
func (d *fileData) drop(c *chunk) {
	d.mu.Lock()
	i := d.search(c.off)
	d.chunks = slices.Delete(d.chunks, i, i+1)
	d.mu.Unlock()
	if d.buffered.Add(-1) == 0 {
		d.fs.writeHolders.remove(d)
	}
	if d.current == c {
		d.current = nil
	}
	d.fs.putBuffer(c.buf, c.spare)
}

// swapBuffer replaces a chunk's buffer by a larger one. Nothing of it is in flight. The caller holds wmu.
func (d *fileData) swapBuffer(c *chunk, larger []byte) {
	old := c.buf
	d.mu.Lock()
	copy(larger, old)
	c.buf = larger
	d.mu.Unlock()
	d.fs.putBuffer(old, c.spare)
	c.spare = false
}
