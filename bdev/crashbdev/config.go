package crashbdev

import (
	"fmt"

	"github.com/blobkv/blobkv/bdev"
)

// Options of a Disk. The zero value is a disk of 64 MiB with blocks of 512 bytes.
type Options struct {
	Size            int64 // bytes; 0 for 64 MiB, or the size of the image
	BlockSize       int   // bytes; 0 for 512
	AtomicWriteUnit int   // bytes; writes tear at its multiples; 0 for 512
	MaxTransfer     int   // bytes; 0 for 1 MiB
	QueueDepth      int   // requests; 0 for 64
	// Sparse declares the disk an image file, where allocating and unmapping pay off.
	Sparse bool
	// NoFUA leaves the emulation of FUA writes to the core.
	NoFUA bool
	// SyncOps are carried out on the caller's goroutine (bdev.Properties.Sync) instead of through a queue.
	SyncOps bdev.OpSet
	// CompletionSeed, if not zero, completes outstanding requests in an order drawn from it. Zero completes them in
	// the order of their submission.
	CompletionSeed uint64
}

func (o Options) withDefaults() Options {
	if o.Size == 0 {
		o.Size = 64 << 20
	}
	if o.BlockSize == 0 {
		o.BlockSize = 512
	}
	if o.AtomicWriteUnit == 0 {
		o.AtomicWriteUnit = 512
	}
	if o.MaxTransfer == 0 {
		o.MaxTransfer = max(1<<20, o.BlockSize)
	}
	if o.QueueDepth == 0 {
		o.QueueDepth = 64
	}
	return o
}

// validate checks what the package divides by; the core checks the rest when the disk is opened.
func (o Options) validate() error {
	switch {
	case o.BlockSize <= 0 || o.AtomicWriteUnit <= 0:
		return fmt.Errorf("crashbdev: block size %d, atomic write unit %d: %w", o.BlockSize, o.AtomicWriteUnit, bdev.ErrInvalid)
	case o.Size <= 0 || o.Size%int64(o.BlockSize) != 0:
		return fmt.Errorf("crashbdev: size %d is no multiple of the block size %d: %w", o.Size, o.BlockSize, bdev.ErrInvalid)
	}
	return nil
}

// properties is what a disk of these options declares.
func (o Options) properties() bdev.Properties {
	native := bdev.Ops(bdev.OpRead, bdev.OpWrite, bdev.OpFlush, bdev.OpUnmap, bdev.OpWriteZeroes)
	if o.Sparse {
		native |= bdev.Ops(bdev.OpAllocate)
	}
	return bdev.Properties{
		BlockSize:       o.BlockSize,
		BlockCount:      o.Size / int64(o.BlockSize),
		AtomicWriteUnit: o.AtomicWriteUnit,
		BufferAlign:     1,
		MaxTransfer:     o.MaxTransfer,
		WriteCache:      true,
		Durable:         true,
		Sparse:          o.Sparse,
		Native:          native,
		Sync:            o.SyncOps & native,
		FUA:             !o.NoFUA,
		QueueDepth:      o.QueueDepth,
		Note:            "simulated device in memory",
	}
}
