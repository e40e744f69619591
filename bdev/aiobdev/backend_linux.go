package aiobdev

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
)

// Backend is an open image or block device. It implements bdev.Backend.
type Backend struct {
	// Constant after Open.
	path        string
	fd          int
	opened      bool // fd is open
	block       bool // a block device, not an image
	direct      bool // O_DIRECT is in force
	readOnly    bool
	fresh       bool // Open created the image
	durable     bool
	depth       int // requests per queue
	blockSize   int // bytes
	bufferAlign int // bytes
	note        string

	size atomic.Int64 // bytes; Resize changes it
}

var _ bdev.Backend = (*Backend)(nil)

func (b *Backend) setSize(size int64) { b.size.Store(size) }

// Fresh reports whether Open created the image.
func (b *Backend) Fresh() bool { return b.fresh }

// nativeSync are the operations that run through Execute.
const nativeSync bdev.OpSet = 1<<bdev.OpFlush | 1<<bdev.OpUnmap | 1<<bdev.OpWriteZeroes | 1<<bdev.OpAllocate

// Properties declares what was found at Open.
func (b *Backend) Properties() bdev.Properties {
	return bdev.Properties{
		BlockSize:       b.blockSize,
		BlockCount:      b.size.Load() / int64(b.blockSize),
		AtomicWriteUnit: sectorSize,
		BufferAlign:     b.bufferAlign,
		MaxTransfer:     maxTransfer,
		WriteCache:      true,
		Durable:         b.durable,
		Sparse:          !b.block,
		ReadOnly:        b.readOnly,
		Native:          1<<bdev.OpRead | 1<<bdev.OpWrite | nativeSync,
		Sync:            nativeSync,
		QueueDepth:      b.depth,
		Note:            b.note,
	}
}

// NewQueue opens an AIO context.
func (b *Backend) NewQueue() (bdev.Queue, error) { return newQueue(b) }

// Resize grows an image, durably. For a block device it takes notice of a size that the system has changed.
func (b *Backend) Resize(size int64) error {
	if b.block {
		return b.resizeDevice(size)
	}
	if b.readOnly {
		return fmt.Errorf("%s: resize: %w", b.path, bdev.ErrReadOnly)
	}
	if now := b.size.Load(); size < now {
		return fmt.Errorf("%s: resize from %d to %d bytes: %w: images only grow", b.path, now, size, bdev.ErrUnsupported)
	}
	if err := b.grow(size); err != nil {
		return fmt.Errorf("%s: %w", b.path, err)
	}
	return nil
}

// resizeDevice adopts a new size of a block device as far as the device has it.
func (b *Backend) resizeDevice(size int64) error {
	actual, _, err := blockDeviceSize(b.fd)
	if err != nil {
		return fmt.Errorf("%s: resize: %w", b.path, err)
	}
	if size > actual {
		return fmt.Errorf("%s: resize to %d bytes: %w: the device has %d", b.path, size, bdev.ErrUnsupported, actual)
	}
	b.setSize(size)
	return nil
}

// Close unlocks and closes the file. It does not flush.
func (b *Backend) Close() error {
	if err := unix.Close(b.fd); err != nil {
		return fmt.Errorf("%s: close: %w", b.path, err)
	}
	return nil
}
