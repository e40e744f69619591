package filebdev

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"os"

	"github.com/blobkv/blobkv/bdev"
)

const (
	queueDepth  = 64
	queueSpread = 8       // goroutines that carry out a queue's requests
	maxTransfer = 4 << 20 // bytes; longer requests would keep a cancelled program waiting
)

// Backend is an open image file.
type Backend struct {
	config  Config
	f       *os.File
	fresh   bool
	regular bool
	size    atomic.Int64 // bytes; Resize changes it
}

// Fresh tells whether Open created the image.
func (b *Backend) Fresh() bool { return b.fresh }

// Properties declares the device.
func (b *Backend) Properties() bdev.Properties {
	all := bdev.Ops(bdev.OpRead, bdev.OpWrite, bdev.OpFlush)
	return bdev.Properties{
		BlockSize:       b.config.BlockSize,
		BlockCount:      b.size.Load() / int64(b.config.BlockSize),
		AtomicWriteUnit: 512,
		BufferAlign:     1,
		MaxTransfer:     maxTransfer,
		WriteCache:      true,
		Durable:         true,
		Sparse:          b.regular,
		ReadOnly:        b.config.ReadOnly,
		Native:          all,
		Sync:            all,
		QueueDepth:      queueDepth,
		Note:            "buffered by the host's page cache",
	}
}

// NewQueue opens a queue that carries out requests on goroutines.
func (b *Backend) NewQueue() (bdev.Queue, error) {
	return bdev.WorkerQueue(b.Execute, queueSpread, queueDepth), nil
}

// Execute carries out one request with a blocking call.
func (b *Backend) Execute(r *bdev.Request) error {
	switch r.Op {
	case bdev.OpRead:
		return readAll(b.f, r.Buf, r.Offset)
	case bdev.OpWrite:
		_, err := b.f.WriteAt(r.Buf, r.Offset)
		return ioError(err)
	case bdev.OpFlush:
		return ioError(b.f.Sync())
	}
	return bdev.ErrUnsupported
}

// readAll treats an early end of the file, which another program must have cut short, as an error.
func readAll(f io.ReaderAt, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return fmt.Errorf("the image ends after %d of %d bytes: %w", n, len(p), bdev.ErrIO)
	}
	return ioError(err)
}

// ioError adds the sentinel of package bdev that a system error stands for.
func ioError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrClosed):
		return fmt.Errorf("%w: %w", bdev.ErrClosed, err)
	case isNoSpace(err):
		return fmt.Errorf("%w: %w", bdev.ErrNoSpace, err)
	}
	return fmt.Errorf("%w: %w", bdev.ErrIO, err)
}

// Resize grows the image, durably.
func (b *Backend) Resize(size int64) error {
	switch now := b.size.Load(); {
	case b.config.ReadOnly:
		return bdev.ErrReadOnly
	case size == now:
		return nil
	case size < now:
		return fmt.Errorf("from %d bytes: images only grow: %w", now, bdev.ErrUnsupported)
	case !b.regular:
		return fmt.Errorf("from %d bytes: not a regular file: %w", now, bdev.ErrUnsupported)
	}
	return b.grow(size)
}

func (b *Backend) grow(size int64) error {
	if err := b.f.Truncate(size); err != nil {
		return ioError(err)
	}
	if err := b.f.Sync(); err != nil {
		return ioError(err)
	}
	b.size.Store(size)
	return nil
}

// Close releases the image and its lock.
func (b *Backend) Close() error { return b.f.Close() }
