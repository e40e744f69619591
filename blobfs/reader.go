package blobfs

import (
	"fmt"
	"io"
	"math/bits"
	"unsafe"
)

// maxBounce is the largest piece of a read that goes through device memory, in bytes.
const maxBounce = 1 << 20

// readAt reads like io.ReaderAt. It takes no lock across I/O and none at all while nothing of the file is buffered.
func (d *fileData) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: read at offset %d", ErrInvalid, off)
	}
	for {
		shrinks := d.shrinks.Load()
		n, err := d.readOnce(p, off)
		if d.shrinks.Load() == shrinks {
			return n, err
		}
		// A truncation gave clusters up meanwhile: what was read may be another file's by now.
	}
}

func (d *fileData) readOnce(p []byte, off int64) (int, error) {
	left := d.n.size.Load() - off
	if left <= 0 {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), left))
	if err := d.fill(p[:n], off); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// fill reads bytes below the end of the file: buffered ones from memory, the others from the device. A block that is
// not buffered when it is looked for is on the device, because a chunk is dropped only after it was written.
func (d *fileData) fill(p []byte, off int64) error {
	if d.buffered.Load() == 0 {
		return d.fromDevice(p, off)
	}
	for len(p) > 0 {
		n, hit := d.fromChunks(p, off)
		if !hit {
			if err := d.fromDevice(p[:n], off); err != nil {
				return err
			}
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// fromChunks copies the bytes at off that are buffered, or says how many are not until the next one that is.
func (d *fileData) fromChunks(p []byte, off int64) (n int, hit bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for i := d.search(off); i < len(d.chunks); i++ {
		c := d.chunks[i]
		if c.off >= off+int64(len(p)) {
			break
		}
		lo, hi, ok := c.validRun(max(off, c.off), d.fs.block)
		switch {
		case !ok:
			continue
		case lo > off:
			return int(min(lo-off, int64(len(p)))), false
		}
		return copy(p, c.buf[off-c.off:hi-c.off]), true
	}
	return len(p), false
}

// validRun returns the first run of buffered bytes at or behind off, which lies in the chunk.
func (c *chunk) validRun(off, block int64) (lo, hi int64, ok bool) {
	first := int((off - c.off) / block)
	rest := c.valid >> first << first
	if rest == 0 {
		return 0, 0, false
	}
	start, n := rest.run()
	return max(off, c.off+int64(start)*block), c.off + int64(start+n)*block, true
}

// fromDevice reads bytes that lie on the device. Memory the device cannot use is filled by one copy from a pooled
// buffer; it allocates nothing.
func (d *fileData) fromDevice(p []byte, off int64) error {
	d.fs.stats.deviceReads.Add(1)
	if off%d.fs.block == 0 && int64(len(p))%d.fs.block == 0 && aligned(p, d.fs.align) {
		return d.blob.Read(p, off)
	}
	for len(p) > 0 {
		n := min(int64(len(p)), maxBounce-off%d.fs.block)
		if err := d.bounce(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (d *fileData) bounce(p []byte, off int64) error {
	lo := roundDown(off, d.fs.block)
	hi := roundUp(off+int64(len(p)), d.fs.block)
	buf, slot := d.fs.bounces.get(int(hi - lo))
	defer d.fs.bounces.put(buf, slot)
	if err := d.blob.Read(buf, lo); err != nil {
		return err
	}
	copy(p, buf[off-lo:])
	return nil
}

// aligned reports whether p begins at a multiple of align, a power of two.
func aligned(p []byte, align int) bool {
	return bits.TrailingZeros64(uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p))))) >= bits.TrailingZeros64(uint64(align))
}
