package vfiouser

import (
	"fmt"

	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// PCI identifiers of what Soft serves: the vendor is the one in the software controller's identify data, the device is none that
// a driver has quirks for.
const (
	softVendorID = 0x1b36
	softDeviceID = 0x4e56 // "NV"
	softRevision = 1
)

// Soft is a device of software controllers. Namespaces keep their storage from one client to the next; metadata,
// features and everything else starts anew. Doorbells and Interrupt of the configuration are set for each.
func Soft(cfg softctrl.Config) Device { return &softDevice{cfg} }

type softDevice struct{ cfg softctrl.Config }

// defaultSoftQueues is what softctrl makes of no number.
const defaultSoftQueues = 64

func (d *softDevice) Info() Info {
	queues := d.cfg.Queues
	if queues == 0 {
		queues = defaultSoftQueues
	}
	return Info{Vendor: softVendorID, Device: softDeviceID, Revision: softRevision, Vectors: d.cfg.Vectors,
		DoorbellBytes: 2 * (queues + 1) * (4 << d.cfg.DoorbellStride)}
}

func (d *softDevice) Attach(h Host) (Controller, error) {
	s := &softController{cfg: d.cfg, mem: softMemory{host: h.Memory}}
	s.cfg.Doorbells = h.Doorbells
	s.cfg.Interrupt = func(vector uint16) { h.Interrupt(int(vector)) }
	if err := s.Reset(); err != nil {
		return nil, err
	}
	return s, nil
}

// softController is a software controller and the memory of its host.
type softController struct {
	cfg  softctrl.Config
	ctrl *softctrl.Controller
	mem  softMemory
}

func (s *softController) Load(offset uint32, size int) (uint64, error) {
	v := s.ctrl.Load(offset, size)
	return v, s.mem.writeBack()
}

func (s *softController) Store(offset uint32, size int, value uint64) error {
	s.ctrl.Store(offset, value, size)
	return s.mem.writeBack()
}

// Poll is the one place where commands are carried out: doorbells are memory.
func (s *softController) Poll() int {
	n := s.ctrl.Process()
	if n > 0 {
		_ = s.mem.writeBack() // a host that does not take what it asked for; the session knows
	}
	return n
}

// Working tells whether storages work on commands.
func (s *softController) Working() bool { return s.ctrl.Working() }

// Drain completes what storages work on.
func (s *softController) Drain() error {
	s.ctrl.Drain()
	return s.mem.writeBack()
}

func (s *softController) Enabled() bool { return spec.CC(s.ctrl.Load(spec.RegCC, 4)).EN() }

// Reset replaces the controller by one that was just switched on.
func (s *softController) Reset() error {
	if s.ctrl != nil {
		if err := s.ctrl.Close(); err != nil {
			return fmt.Errorf("closing a software controller: %w", err)
		}
	}
	ctrl, err := softctrl.New(s.cfg, &s.mem)
	if err != nil {
		return fmt.Errorf("making a software controller: %w", err)
	}
	s.ctrl = ctrl
	return nil
}

func (s *softController) Detach() error { return s.ctrl.Close() }

// softMemory is the host's memory for a software controller, which wants slices. Memory that is reached by messages alone
// is copied, and written back in the order in which it was asked for once the controller has returned: data comes
// before the completion that announces it.
type softMemory struct {
	host   HostMemory
	copies []memoryCopy
}

// memoryCopy is memory that the controller may have written.
type memoryCopy struct {
	iova  uint64
	bytes []byte
}

// maxCopy bounds a copy, in bytes: softctrl asks for rings and pages.
const maxCopy = 1 << 20

// Translate implements softctrl.Memory.
func (m *softMemory) Translate(iova uint64, n int, write bool) []byte {
	if b := m.host.Slice(iova, n, write); b != nil {
		return b
	}
	if n <= 0 || n > maxCopy || !m.host.Remote(iova, n, write) {
		return nil
	}
	b := make([]byte, n)
	if m.host.Read(iova, b) != nil {
		return nil
	}
	if write {
		m.copies = append(m.copies, memoryCopy{iova, b})
	}
	return b
}

// Lasting implements softctrl.Memory: copies are written back when the controller returns.
func (m *softMemory) Lasting() bool { return len(m.copies) == 0 }

// writeBack returns the first error; what follows it is not written, a completion least of all.
func (m *softMemory) writeBack() error {
	if len(m.copies) == 0 {
		return nil
	}
	copies := m.copies
	m.copies = nil
	for _, c := range copies {
		if err := m.host.Write(c.iova, c.bytes); err != nil {
			return err
		}
	}
	return nil
}
