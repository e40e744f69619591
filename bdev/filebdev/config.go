package filebdev

import (
	"fmt"

	"github.com/blobkv/blobkv/bdev"
)

// DefaultBlockSize is used when Config has none, in bytes.
const DefaultBlockSize = 4096

// Config of Open. The zero value opens an existing image for reading and writing.
type Config struct {
	// ReadOnly changes nothing and admits other readers.
	ReadOnly bool
	// Create makes the image, sparse and for its owner only (0600), when there is none. It needs Size.
	Create bool
	// Size is the least size in bytes: a new image gets it, a smaller one is grown to it unless ReadOnly.
	Size int64
	// BlockSize in bytes, a power of two from 512; 0 for DefaultBlockSize.
	BlockSize int
}

func (c Config) withDefaults() (Config, error) {
	if c.BlockSize == 0 {
		c.BlockSize = DefaultBlockSize
	}
	if c.BlockSize < 512 || c.BlockSize > 64<<10 || c.BlockSize&(c.BlockSize-1) != 0 {
		return c, fmt.Errorf("block size %d, want a power of two from 512 to 65536: %w", c.BlockSize, bdev.ErrInvalid)
	}
	if c.Size < 0 || c.Size%int64(c.BlockSize) != 0 {
		return c, fmt.Errorf("size %d, want a multiple of the block size %d: %w", c.Size, c.BlockSize, bdev.ErrInvalid)
	}
	return c, nil
}
