package blobfs

import (
	"errors"
	"sync"

	"github.com/blobkv/blobkv/internal/dmabuf"
)

const (
	// maxGrowAhead bounds, in bytes, how far clusters are taken ahead of an appending writer.
	maxGrowAhead = 8 << 20
	// directGap is the length from which a gap is zeroed by the device instead of from memory, in bytes.
	directGap = 1 << 20
)

// grow makes sure that clusters lie below the file's first end bytes. A file that is appended to doubles, by at most
// maxGrowAhead; Close gives back what was not needed. The caller holds wmu.
func (d *fileData) grow(end int64) error {
	have := d.blob.Size()
	if end <= have {
		return nil
	}
	need := roundUp(end, d.fs.cluster)
	ahead := max(need, have+min(have, maxGrowAhead))
	err := d.resize(roundUp(ahead, d.fs.cluster))
	if ahead > need && errors.Is(fromStore(err), ErrNoSpace) {
		err = d.resize(need)
	}
	return err
}

// resize gives the blob clusters for size bytes, a multiple of the cluster. The caller holds wmu.
func (d *fileData) resize(size int64) error {
	tx := d.fs.store.Begin()
	tx.Resize(d.n.id, size/d.fs.cluster)
	lsn, err := tx.Commit()
	if err != nil {
		return err
	}
	d.n.touch(lsn)
	return nil
}

// trim gives clusters behind the end of the file back. The caller holds wmu; nothing is in flight.
func (d *fileData) trim() error {
	need := roundUp(d.n.size.Load(), d.fs.cluster)
	if d.blob.Size() <= need {
		return nil
	}
	return d.resize(need)
}

// preallocate reserves clusters for bytes [off, off+n). The size stays as it is.
func (d *fileData) preallocate(off, n int64) error {
	if off < 0 || n < 0 || off > maxFileSize-n {
		return ErrInvalid
	}
	d.wmu.Lock()
	defer d.wmu.Unlock()
	if err := d.fs.writable(); err != nil {
		return err
	}
	if off+n <= d.blob.Size() {
		return nil
	}
	return d.resize(roundUp(off+n, d.fs.cluster))
}

// zeroGap extends the file from size to end with zeros, which are written before any length covers them: what the
// clusters held before must not show. Clusters lie below end. The caller holds wmu.
func (d *fileData) zeroGap(size, end int64) error {
	if end-size >= directGap {
		if err := d.zeroDirect(&size, end); err != nil {
			return err
		}
	}
	zeros := d.fs.zeros.get()
	for size < end {
		n := min(end-size, int64(len(zeros)))
		if _, err := d.putAll(zeros[:n], size); err != nil {
			return err
		}
		size += n
	}
	return nil
}

// zeroDirect zeroes the whole blocks of a large gap on the device and moves *size behind them. The caller holds wmu.
func (d *fileData) zeroDirect(size *int64, end int64) error {
	zeros := d.fs.zeros.get()
	lo, hi := roundUp(*size, d.fs.block), roundDown(end, d.fs.block)
	if _, err := d.putAll(zeros[:lo-*size], *size); err != nil {
		return err
	}
	d.ahead.settleOverlap(lo, hi)
	if err := d.blob.WriteZeroes(lo, hi-lo); err != nil {
		return err
	}
	d.started++
	d.voucher.valid = false
	d.fs.stats.zeroed.Add(hi - lo)
	d.mu.Lock()
	d.version.Add(1)
	d.n.size.Store(hi)
	d.mu.Unlock()
	d.lastEnd = hi
	*size = hi
	return nil
}

// zeroBuffer is a chunk of zeros in device memory, made when it is first needed and shared by all files.
type zeroBuffer struct {
	mem *dmabuf.Pool
	mu  sync.Mutex
	buf []byte
}

// get returns the zeros, which nobody changes.
func (z *zeroBuffer) get() []byte {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.buf == nil {
		z.buf = z.mem.Get(chunkSize)
		clear(z.buf)
	}
	return z.buf
}

// close gives the memory back. Nobody uses it any more.
func (z *zeroBuffer) close() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.buf != nil {
		z.mem.Put(z.buf)
		z.buf = nil
	}
}
