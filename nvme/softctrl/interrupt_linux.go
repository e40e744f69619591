package softctrl

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme"
)

// Interrupt makes a vector signal an eventfd; -1 ends it.
func (t *Transport) Interrupt(vector, eventfd int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if vector < 0 || vector >= len(t.eventFD) {
		return fmt.Errorf("%s: interrupt vector %d of %d: %w", t.Name(), vector, len(t.eventFD), nvme.ErrUnsupported)
	}
	t.eventFD[vector] = eventfd
	return nil
}

// signal adds one to the eventfd of a vector. An eventfd that is full has been signalled.
func (t *Transport) signal(vector uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if int(vector) < len(t.eventFD) && t.eventFD[vector] >= 0 {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(t.eventFD[vector], one[:])
	}
}
