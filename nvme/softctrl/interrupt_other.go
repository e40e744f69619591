//go:build !linux

package softctrl

import (
	"fmt"

	"github.com/blobkv/blobkv/nvme"
)

// vector is an interrupt vector. Nobody can listen to it here.
type vector struct{ eventFD int }

// Interrupt needs eventfd(2), which is Linux's.
func (t *Transport) Interrupt(vector, eventfd int) error {
	return fmt.Errorf("%s: interrupts: %w", t.Name(), nvme.ErrUnsupported)
}

func (t *Transport) signal(uint16) {}
