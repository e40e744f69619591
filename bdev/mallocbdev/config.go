package mallocbdev

import (
	"fmt"

	"github.com/blobkv/blobkv/bdev"
)

// DefaultBlockSize is used when Config has none, in bytes.
const DefaultBlockSize = 4096

// Config describes a RAM device.
type Config struct {
	Size      int64 // bytes, a multiple of the block size
	BlockSize int   // bytes, a power of two from 512; 0 for DefaultBlockSize
}

// Check is nil, or bdev.ErrInvalid and what does not go together.
func (c Config) Check() error {
	_, err := c.withDefaults()
	return err
}

func (c Config) withDefaults() (Config, error) {
	if c.BlockSize == 0 {
		c.BlockSize = DefaultBlockSize
	}
	if c.BlockSize < 512 || c.BlockSize > 64<<10 || c.BlockSize&(c.BlockSize-1) != 0 {
		return c, fmt.Errorf("block size %d, want a power of two from 512 to 65536: %w", c.BlockSize, bdev.ErrInvalid)
	}
	if c.Size <= 0 || c.Size%int64(c.BlockSize) != 0 {
		return c, fmt.Errorf("size %d, want a multiple of the block size %d: %w", c.Size, c.BlockSize, bdev.ErrInvalid)
	}
	return c, nil
}
