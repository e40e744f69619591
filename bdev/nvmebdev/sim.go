package nvmebdev

import (
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

// NewSim makes a software controller in this process and opens its namespace: the driver, rings, doorbells and all, with no
// device at the end. It is gone at Close. It declares a volatile write cache, so that flushes take the way they take on
// a drive.
func NewSim(c SimConfig) (*Backend, error) {
	if c.BlockSize == 0 {
		c.BlockSize = defaultSimBlock
	}
	switch {
	case c.BlockSize != 512 && c.BlockSize != 4096:
		return nil, fmt.Errorf("nvme-sim: block size %d, want 512 or 4096: %w", c.BlockSize, bdev.ErrInvalid)
	case c.Size <= 0 || c.Size%int64(c.BlockSize) != 0:
		return nil, fmt.Errorf("nvme-sim: size %d, want a multiple of the block size %d: %w", c.Size, c.BlockSize, bdev.ErrInvalid)
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
		WriteCache: true, Namespaces: []softctrl.NamespaceConfig{{Storage: ram, BlockSize: c.BlockSize}},
	}, softctrl.TransportOptions{})
	if err != nil {
		return nil, err
	}
	return New(t, c.Config)
}
