package bdev

import (
	"fmt"
	"math"
)

// Bounds of what a device may declare, in bytes.
const (
	minBlockSize = 512
	maxBlockSize = 64 << 10
	maxPiece     = 1 << 20 // largest bounced or emulated transfer
	maxLength    = 1 << 40 // largest native transfer of a backend that declares none
)

// withDefaults fills what a backend left zero.
func (p Properties) withDefaults() Properties {
	setDefault(&p.AtomicWriteUnit, minBlockSize)
	setDefault(&p.BufferAlign, 1)
	setDefault(&p.QueueDepth, 128)
	if p.MaxTransfer == 0 {
		p.MaxTransfer = min(maxLength, math.MaxInt) &^ (maxBlockSize - 1)
	}
	return p
}

func setDefault(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

// validate refuses properties the core cannot work with.
func (p Properties) validate() error {
	switch {
	case !isPowerOfTwo(p.BlockSize) || p.BlockSize < minBlockSize || p.BlockSize > maxBlockSize:
		return fmt.Errorf("block size %d, want a power of two from %d to %d: %w", p.BlockSize, minBlockSize, maxBlockSize, ErrInvalid)
	case p.BlockCount < 1 || p.BlockCount > math.MaxInt64/int64(p.BlockSize):
		return fmt.Errorf("%d blocks of %d bytes: %w", p.BlockCount, p.BlockSize, ErrInvalid)
	case !isPowerOfTwo(p.BufferAlign) || p.BufferAlign > 4096:
		return fmt.Errorf("buffer alignment %d, want a power of two up to 4096: %w", p.BufferAlign, ErrInvalid)
	case p.AtomicWriteUnit < 0 || !isPowerOfTwo(p.AtomicWriteUnit):
		return fmt.Errorf("atomic write unit %d, want a power of two: %w", p.AtomicWriteUnit, ErrInvalid)
	case p.MaxTransfer < p.BlockSize || p.MaxTransfer%p.BlockSize != 0:
		return fmt.Errorf("largest transfer %d is no multiple of the block size %d: %w", p.MaxTransfer, p.BlockSize, ErrInvalid)
	case p.OptimalBoundary < 0 || p.OptimalBoundary%p.BlockSize != 0:
		return fmt.Errorf("boundary %d is no multiple of the block size %d: %w", p.OptimalBoundary, p.BlockSize, ErrInvalid)
	case p.WriteCache && !p.Native.Has(OpFlush):
		return fmt.Errorf("a volatile write cache without a flush: %w", ErrInvalid)
	case p.Native.Has(OpCompareAndWrite) != (p.MaxCompareWrite > 0) || p.MaxCompareWrite < 0 || p.MaxCompareWrite > maxPiece:
		return fmt.Errorf("native compare and write of %d bytes: %w", p.MaxCompareWrite, ErrInvalid)
	case p.QueueDepth < 1:
		return fmt.Errorf("queue depth %d: %w", p.QueueDepth, ErrInvalid)
	case p.MaxQueues < 0:
		return fmt.Errorf("at most %d queues: %w", p.MaxQueues, ErrInvalid)
	}
	return nil
}

func isPowerOfTwo(n int) bool { return n > 0 && n&(n-1) == 0 }
