package nvmebdev

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

// SimConfig describes a software controller with one namespace in RAM.
type SimConfig struct {
	Size      int64 // bytes, a multiple of the block size
	BlockSize int   // bytes, 512 or 4096; 0 is 4096
	Config
}

const defaultSimBlock = 4096

// Check is nil, or bdev.ErrInvalid and what does not go together.
func (c SimConfig) Check() error {
	block := c.block()
	switch {
	case block != 512 && block != 4096:
		return fmt.Errorf("block size %d, want 512 or 4096: %w", block, bdev.ErrInvalid)
	case c.Size <= 0 || c.Size%int64(block) != 0:
		return fmt.Errorf("size %d, want a multiple of the block size %d: %w", c.Size, block, bdev.ErrInvalid)
	}
	return nil
}

func (c SimConfig) block() int { return cmp.Or(c.BlockSize, defaultSimBlock) }

// NewSim makes a software controller in this process and opens its namespace: the driver, rings, doorbells and all, with no
// device at the end. It is gone at Close. It declares a volatile write cache, so that flushes take the way they take on
// a drive.
func NewSim(c SimConfig) (*Backend, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("nvme-sim: %w", err)
	}
	ram, err := softctrl.NewRAM(c.Size, false)
	if err != nil {
		return nil, fmt.Errorf("nvme-sim: %w", err)
	}
	b, err := newSim(ram, c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nvme-sim: %w", err), ram.Free())
	}
	b.free = append(b.free, ram.Free)
	b.fresh, b.durable = true, false
	b.note = "RAM behind a software NVMe controller: contents are lost at close"
	return b, nil
}

func newSim(ram *softctrl.RAM, c SimConfig) (*Backend, error) {
	t, err := softctrl.NewTransport(softctrl.Config{
		WriteCache: true, Namespaces: []softctrl.NamespaceConfig{{Storage: ram, BlockSize: c.block()}},
	}, softctrl.TransportOptions{})
	if err != nil {
		return nil, err
	}
	return New(t, c.Config)
}
