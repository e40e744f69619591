package softctrl

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme"
)

var _ nvme.Masker = (*Transport)(nil)

// vector is an interrupt vector, as MSI-X has them.
type vector struct {
	eventFD int // -1: nobody listens
	masked  bool
	pending bool // it interrupted while it was masked
}

// Interrupt makes a vector signal an eventfd; -1 ends it.
func (t *Transport) Interrupt(n, eventfd int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, err := t.vector(n)
	if err == nil {
		*v = vector{eventFD: eventfd}
	}
	return err
}

// Masks tells that vectors can be masked, if there are any.
func (t *Transport) Masks() bool { return len(t.vectors) > 0 }

// Mask holds the interrupts of a vector back, or lets them through.
func (t *Transport) Mask(n int, masked bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, err := t.vector(n)
	if err != nil {
		return err
	}
	if v.masked = masked; !masked && v.pending {
		v.signal()
	}
	return nil
}

// vector is called with mu held.
func (t *Transport) vector(n int) (*vector, error) {
	if n < 0 || n >= len(t.vectors) {
		return nil, fmt.Errorf("%s: interrupt vector %d of %d: %w", t.Name(), n, len(t.vectors), nvme.ErrUnsupported)
	}
	return &t.vectors[n], nil
}

// signal interrupts through a vector.
func (t *Transport) signal(n uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if int(n) < len(t.vectors) {
		t.vectors[n].signal()
	}
}

// signal adds one to the eventfd, if there is one and the vector is not masked. An eventfd that is full has been signalled.
func (v *vector) signal() {
	if v.pending = v.masked; v.masked || v.eventFD < 0 {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(v.eventFD, one[:])
}
