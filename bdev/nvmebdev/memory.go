package nvmebdev

import (
	"errors"
	"fmt"
	"sync"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme"
)

// memory registers pool buffers with a controller when they are first used, and takes them back when their memory goes.
type memory struct {
	ctrl *nvme.Controller
	end  func() // of watching the pools

	mu struct {
		sync.Mutex
		failure error // the first buffer that could not be taken back
	}
}

func (m *memory) start(c *nvme.Controller) {
	m.ctrl = c
	m.end = dmabuf.Watch(m.forget)
}

// stop is called when the controller is closed and reaches nothing any more.
func (m *memory) stop() error {
	m.end()
	return m.mu.failure
}

// errForeign is memory that is not of a pool. It is no failure: such buffers are bounced.
var errForeign = fmt.Errorf("memory that is not of a device memory pool: %w", nvme.ErrNotMapped)

// reach makes sure that the controller reaches a buffer. It allocates nothing when it does already, or never will.
func (m *memory) reach(b []byte) error {
	if m.ctrl.Registered(b) {
		return nil
	}
	whole := dmabuf.Whole(b)
	if whole == nil {
		return errForeign
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctrl.Registered(b) { // another goroutine was faster, with another part of it
		return nil
	}
	return m.ctrl.Register(whole)
}

// reaches is reach as the core wants to know it.
func (m *memory) reaches(b []byte) bool { return m.reach(b) == nil }

// forget takes a buffer back before its memory goes. A controller that will not let go of it keeps its address blocked,
// so nothing else is ever taken for it.
func (m *memory) forget(whole []byte) {
	if !m.ctrl.Registered(whole) {
		return
	}
	err := m.ctrl.Unregister(whole)
	if err == nil || errors.Is(err, nvme.ErrGone) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.failure == nil {
		m.mu.failure = err
	}
}
