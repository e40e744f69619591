package blobstore

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/blobkv/blobkv/bdev"
)

// check is the error of an I/O on [off, off+n) of a blob mapped by m, if any.
func (b *Blob) check(m *extentMap, off, n int64) error {
	switch {
	case m == nil:
		return fmt.Errorf("blob %v: %w", b.id, ErrNotFound)
	case off < 0 || n < 0 || off > m.size || n > m.size-off:
		return fmt.Errorf("blob %v: %w: %d bytes at %d of %d", b.id, ErrOutOfRange, n, off, m.size)
	case (off|n)%BlockSize != 0:
		return fmt.Errorf("blob %v: %w: %d bytes at %d are not in blocks of %d", b.id, ErrOutOfRange, n, off, BlockSize)
	}
	return nil
}

// checkWrite is the error of changing the blob's data, if any.
func (b *Blob) checkWrite() error {
	if b.store.readOnly {
		return fmt.Errorf("blob %v: %w", b.id, ErrReadOnly)
	}
	if b.fixed {
		return fmt.Errorf("blob %v: %w: its data is marked so", b.id, ErrReadOnly)
	}
	return b.store.Err()
}

// Read fills p from offset off. It is repeated within a bound before it fails.
func (b *Blob) Read(p []byte, off int64) error { return b.transfer(bdev.OpRead, p, off) }

// Write stores p at offset off. It is repeated within a bound before it fails, and durable after SyncData.
func (b *Blob) Write(p []byte, off int64) error {
	if err := b.checkWrite(); err != nil {
		return err
	}
	return b.transfer(bdev.OpWrite, p, off)
}

// transfer moves p in as many device requests as the extents ask for, one after the other.
func (b *Blob) transfer(op bdev.Op, p []byte, off int64) error {
	m := b.acquire()
	if err := b.check(m, off, int64(len(p))); err != nil {
		b.drop(m)
		return err
	}
	defer b.release(m)
	for len(p) > 0 {
		r := m.at(off)
		n := min(int64(len(p)), r.off+r.len-off)
		if err := doRetry(b.store.dev, op, p[:n], r.dev+off-r.off, 0); err != nil {
			return b.failed(op, off, n, err)
		}
		p, off = p[n:], off+n
	}
	return nil
}

// drop is release for a map that may be nil.
func (b *Blob) drop(m *extentMap) {
	if m != nil {
		b.release(m)
	}
}

func (b *Blob) failed(op bdev.Op, off, n int64, err error) error {
	return fmt.Errorf("blob %v: %v of %d bytes at %d: %w", b.id, op, n, off, err)
}

// WriteZeroes makes [off, off+n) read as zeros.
func (b *Blob) WriteZeroes(off, n int64) error { return b.ranged(bdev.OpWriteZeroes, off, n) }

// Unmap says that the content of [off, off+n) is not needed any more. The blob keeps its clusters; what is read there
// afterwards is the old data or zeros.
func (b *Blob) Unmap(off, n int64) error { return b.ranged(bdev.OpUnmap, off, n) }

// Allocate reserves the host's space for [off, off+n) where the device is a sparse image; elsewhere it does nothing.
func (b *Blob) Allocate(off, n int64) error { return b.ranged(bdev.OpAllocate, off, n) }

// ranged carries out an operation without a buffer.
func (b *Blob) ranged(op bdev.Op, off, n int64) error {
	if err := b.checkWrite(); err != nil {
		return err
	}
	m := b.acquire()
	if err := b.check(m, off, n); err != nil {
		b.drop(m)
		return err
	}
	defer b.release(m)
	if n == 0 {
		return nil
	}
	return m.each(off, n, func(dev, length int64) error {
		if err := doRetry(b.store.dev, op, nil, dev, length); err != nil {
			return b.failed(op, off, n, err)
		}
		return nil
	})
}

// ioInline is how many device requests an IO carries without allocating.
const ioInline = 4

// IO is one asynchronous transfer: reusable, pooled by its user, the zero value is ready. An IO that nobody waits for
// still makes progress. It is not started again before Wait has returned.
type IO struct {
	// Attended, set before the start, says that whoever starts the transfer waits for it at once, so that nobody else
	// needs to see to its progress.
	Attended bool

	mu       sync.Mutex // held by the one who collects the requests
	blob     *Blob
	m        *extentMap
	op       bdev.Op
	off      int64
	length   int64
	requests [ioInline]*bdev.Request
	n        int             // of requests
	more     []*bdev.Request // those beyond
	err      error           // valid once done
	started  bool
	done     atomic.Bool
}

// StartRead begins to fill p from offset off. p belongs to the device until io.Wait returns.
func (b *Blob) StartRead(io *IO, p []byte, off int64) { io.start(b, bdev.OpRead, p, off) }

// StartWrite begins to store p at offset off. p belongs to the device until io.Wait returns.
func (b *Blob) StartWrite(io *IO, p []byte, off int64) {
	if err := b.checkWrite(); err != nil {
		io.reset(b, bdev.OpWrite, p, off)
		io.finish(err)
		return
	}
	io.start(b, bdev.OpWrite, p, off)
}

func (io *IO) reset(b *Blob, op bdev.Op, p []byte, off int64) {
	io.blob, io.m, io.op, io.off, io.length = b, nil, op, off, int64(len(p))
	io.n, io.more, io.err, io.started = 0, io.more[:0], nil, true
	io.done.Store(false)
}

func (io *IO) start(b *Blob, op bdev.Op, p []byte, off int64) {
	io.reset(b, op, p, off)
	m := b.acquire()
	if err := b.check(m, off, int64(len(p))); err != nil {
		b.drop(m)
		io.finish(err)
		return
	}
	io.m = m
	for len(p) > 0 {
		r := m.at(off)
		k := min(int64(len(p)), r.off+r.len-off)
		io.submit(p[:k], r.dev+off-r.off)
		p, off = p[k:], off+k
	}
}

func (io *IO) submit(p []byte, dev int64) {
	r := bdev.GetRequest()
	r.Op, r.Buf, r.Offset, r.Attended = io.op, p, dev, io.Attended
	if io.n < ioInline {
		io.requests[io.n] = r
		io.n++
	} else {
		io.more = append(io.more, r)
	}
	io.blob.store.dev.Submit(r)
}

// Wait returns when the transfer is finished, with its result. It may be called any number of times from any
// goroutine; an IO that was never started is finished.
func (io *IO) Wait() error {
	if io.done.Load() {
		return io.err
	}
	io.mu.Lock()
	defer io.mu.Unlock()
	if !io.started || io.done.Load() {
		return io.err
	}
	io.finish(io.collect())
	return io.err
}

// collect waits for every request and gives them back.
func (io *IO) collect() error {
	var first error
	for i := range io.n {
		first = io.reap(io.requests[i], first)
		io.requests[i] = nil
	}
	for i, r := range io.more {
		first = io.reap(r, first)
		io.more[i] = nil
	}
	if first != nil {
		first = io.blob.failed(io.op, io.off, io.length, first)
	}
	return first
}

func (io *IO) reap(r *bdev.Request, first error) error {
	err := waitRetry(io.blob.store.dev, r)
	bdev.PutRequest(r)
	if first != nil {
		return first
	}
	return err
}

// finish publishes the result and lets go of the blob's clusters.
func (io *IO) finish(err error) {
	io.err = err
	if io.m != nil {
		io.blob.release(io.m)
		io.m = nil
	}
	io.done.Store(true)
}

// Done reports whether the device is done with the transfer. Wait then returns at once, unless the transfer has failed and
// is repeated there.
func (io *IO) Done() bool {
	if io.done.Load() {
		return true
	}
	if !io.mu.TryLock() {
		return io.done.Load() // somebody waits for it right now
	}
	defer io.mu.Unlock()
	if !io.started || io.done.Load() {
		return true
	}
	for i := range io.n {
		if !io.requests[i].Done() {
			return false
		}
	}
	for _, r := range io.more {
		if !r.Done() {
			return false
		}
	}
	return true
}
