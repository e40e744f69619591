package mallocbdev

import (
	"fmt"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/internal/prefetch"
)

// queueDepth only sizes what callers prepare: requests are carried out as they are submitted.
const queueDepth = 256

// Backend is a RAM device. Memory is used where it was written to; Unmap and WriteZeroes give it back.
type Backend struct {
	config Config
	region *dmabuf.Region
	mem    []byte
}

// New makes a RAM device of zeros.
func New(c Config) (*Backend, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("malloc: %w", err)
	}
	region, err := dmabuf.NewRegion(c.Size)
	if err != nil {
		return nil, fmt.Errorf("malloc: %w", err)
	}
	return &Backend{config: c, region: region, mem: region.Bytes()}, nil
}

// Properties declares the device. Memory tears at nothing larger than 512 bytes as far as anybody should rely on.
func (b *Backend) Properties() bdev.Properties {
	return bdev.Properties{
		BlockSize:       b.config.BlockSize,
		BlockCount:      b.config.Size / int64(b.config.BlockSize),
		AtomicWriteUnit: 512,
		BufferAlign:     1,
		FUA:             true,
		Native:          bdev.Ops(bdev.OpRead, bdev.OpWrite, bdev.OpUnmap, bdev.OpWriteZeroes, bdev.OpCopy),
		QueueDepth:      queueDepth,
		Note:            "RAM: contents are lost at close",
	}
}

// NewQueue opens a queue that completes requests as they are submitted.
func (b *Backend) NewQueue() (bdev.Queue, error) { return bdev.InlineQueue(b.run, b.next), nil }

// run carries out one request. The core has checked its range.
func (b *Backend) run(r *bdev.Request) error {
	switch r.Op {
	case bdev.OpRead:
		copy(r.Buf, b.mem[r.Offset:])
	case bdev.OpWrite:
		copy(b.mem[r.Offset:], r.Buf)
	case bdev.OpUnmap, bdev.OpWriteZeroes:
		b.region.Zero(r.Offset, r.Length)
	case bdev.OpCopy:
		copy(b.mem[r.Offset:r.Offset+r.Length], b.mem[r.Source:])
	default:
		return bdev.ErrUnsupported
	}
	return nil
}

// next asks for the memory that a request will copy from or to: most of the time of a copy is waiting for its first lines. The core has
// checked its range.
func (b *Backend) next(r *bdev.Request) {
	switch r.Op {
	case bdev.OpWrite:
		prefetch.Start(r.Buf)
		prefetch.Start(b.mem[r.Offset:])
	case bdev.OpRead:
		prefetch.Start(b.mem[r.Offset:])
	}
}

// Execute has nothing to do: Properties.Sync is empty.
func (b *Backend) Execute(*bdev.Request) error { return bdev.ErrUnsupported }

// Resize is not supported: requests under way hold the memory.
func (b *Backend) Resize(int64) error { return bdev.ErrUnsupported }

// Close frees the memory.
func (b *Backend) Close() error {
	b.mem = nil
	return b.region.Free()
}

// Fresh is true: memory holds nothing that could be lost.
func (b *Backend) Fresh() bool { return true }
