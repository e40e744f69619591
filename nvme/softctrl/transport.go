package softctrl

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/spec"
)

// Transport reaches a Controller in the same process. It is the controller's Memory: addresses of the controller are not
// those of the process, so a mistake does not go unnoticed.
type Transport struct {
	ctrl    *Controller
	mapped  bool // doorbells through Window
	noReset bool
	table   atomic.Pointer[[]mapping] // never changed in place
	mu      sync.Mutex
	next    uint64
	closed  atomic.Bool
	vectors []vector // guarded by mu
	fails   error    // of the next Alloc or Map, guarded by mu
}

// mapping is memory that the controller reaches.
type mapping struct {
	iova   uint64
	bytes  []byte
	region *dmabuf.Region // of Alloc
}

// TransportOptions of NewTransport.
type TransportOptions struct {
	// Mapped gives the driver the doorbells as memory; then somebody calls Controller.Process.
	Mapped bool
	// NoReset makes Reset fail, as where a function cannot be reset.
	NoReset bool
}

// NewTransport makes a controller and the transport to it.
func NewTransport(cfg Config, o TransportOptions) (*Transport, error) {
	t := &Transport{mapped: o.Mapped, noReset: o.NoReset, next: firstIOVA}
	t.table.Store(&[]mapping{})
	if cfg.Vectors > 0 && cfg.Interrupt == nil {
		t.vectors = make([]vector, cfg.Vectors)
		t.silence()
		cfg.Interrupt = t.signal
	}
	var err error
	t.ctrl, err = New(cfg, t)
	return t, err
}

// firstIOVA is where addresses of the controller start.
const firstIOVA = 1 << 40

// Controller is the controller.
func (t *Transport) Controller() *Controller { return t.ctrl }

// Name is the controller's.
func (t *Transport) Name() string { return "softctrl:" + t.ctrl.cfg.Serial }

// Translate is Memory.
func (t *Transport) Translate(iova uint64, n int, write bool) []byte {
	table := *t.table.Load()
	for i := range table {
		if m := &table[i]; iova-m.iova < uint64(len(m.bytes)) && uint64(n) <= uint64(len(m.bytes))-(iova-m.iova) {
			at := iova - m.iova
			return m.bytes[at : at+uint64(n)]
		}
	}
	return nil
}

// Lasting is Memory: the host takes no memory back before its commands have ended.
func (t *Transport) Lasting() bool { return true }

func (t *Transport) gone() error {
	if t.closed.Load() {
		return fmt.Errorf("%s: closed: %w", t.Name(), nvme.ErrGone)
	}
	return nil
}

// Load32 reads a register.
func (t *Transport) Load32(offset uint32) (uint32, error) {
	return uint32(t.ctrl.Load(offset, 4)), t.gone()
}

// Load64 reads a register.
func (t *Transport) Load64(offset uint32) (uint64, error) { return t.ctrl.Load(offset, 8), t.gone() }

// Store32 writes a register.
func (t *Transport) Store32(offset uint32, value uint32) error {
	if err := t.gone(); err != nil {
		return err
	}
	t.ctrl.Store(offset, uint64(value), 4)
	return nil
}

// Store64 writes a register.
func (t *Transport) Store64(offset uint32, value uint64) error {
	if err := t.gone(); err != nil {
		return err
	}
	t.ctrl.Store(offset, value, 8)
	return nil
}

// Window gives doorbells as memory.
func (t *Transport) Window(offset uint32, size int) []byte {
	at := int(offset) - spec.RegDoorbells
	if !t.mapped || at < 0 || at+size > len(t.ctrl.doorbells) {
		return nil
	}
	return t.ctrl.doorbells[at : at+size]
}

// FailNext makes the next Alloc or Map fail.
func (t *Transport) FailNext(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fails = err
}

func (t *Transport) failing() error {
	err := t.fails
	t.fails = nil
	return err
}

// Alloc gives memory.
func (t *Transport) Alloc(size int) (nvme.DMA, error) {
	if err := t.gone(); err != nil {
		return nvme.DMA{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.failing(); err != nil {
		return nvme.DMA{}, err
	}
	size = (size + pageSize - 1) / pageSize * pageSize
	region, err := dmabuf.NewRegion(int64(size))
	if err != nil {
		return nvme.DMA{}, err
	}
	m := t.add(mapping{bytes: region.Bytes(), region: region})
	return nvme.DMA{Bytes: m.bytes, IOVA: m.iova}, nil
}

// add is called with mu held.
func (t *Transport) add(m mapping) mapping {
	m.iova = t.next
	t.next += uint64(len(m.bytes)) + pageSize // a hole behind each
	grown := append(append([]mapping(nil), *t.table.Load()...), m)
	t.table.Store(&grown)
	return m
}

// Free ends what Alloc began.
func (t *Transport) Free(d nvme.DMA) error {
	m, err := t.remove(d.Bytes, true)
	if err != nil {
		return err
	}
	return m.region.Free()
}

// Map lets the controller reach memory.
func (t *Transport) Map(b []byte) (uint64, error) {
	if err := t.gone(); err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.failing(); err != nil {
		return 0, err
	}
	if uintptr(unsafe.Pointer(unsafe.SliceData(b)))%pageSize != 0 || len(b)%pageSize != 0 {
		return 0, fmt.Errorf("%s: %d bytes that are not whole pages: %w", t.Name(), len(b), nvme.ErrInvalid)
	}
	return t.add(mapping{bytes: b}).iova, nil
}

// Unmap ends what Map began.
func (t *Transport) Unmap(b []byte) error {
	_, err := t.remove(b, false)
	return err
}

func (t *Transport) remove(b []byte, owned bool) (mapping, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.table.Load()
	for i, m := range old {
		if unsafe.SliceData(m.bytes) == unsafe.SliceData(b) && (m.region != nil) == owned {
			shrunk := append(append([]mapping(nil), old[:i]...), old[i+1:]...)
			t.table.Store(&shrunk)
			return m, nil
		}
	}
	return mapping{}, fmt.Errorf("%s: %d bytes: %w", t.Name(), len(b), nvme.ErrNotMapped)
}

// Mappings is how much memory the controller reaches. Tests look for leaks.
func (t *Transport) Mappings() int { return len(*t.table.Load()) }

// Vectors is how many interrupt vectors there are.
func (t *Transport) Vectors() int { return len(t.vectors) }

// Reset resets the controller; nobody listens to interrupts then, as when the MSI-X table of a function was reset.
func (t *Transport) Reset() error {
	if t.noReset {
		return fmt.Errorf("%s: function reset: %w", t.Name(), nvme.ErrUnsupported)
	}
	if err := t.gone(); err != nil {
		return err
	}
	t.ctrl.Reset()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.silence()
	return nil
}

// silence makes all vectors signal nobody. It is called with mu held, or before the transport is used.
func (t *Transport) silence() {
	for i := range t.vectors {
		t.vectors[i] = vector{eventFD: -1}
	}
}

// Close ends everything.
func (t *Transport) Close() error {
	if t.closed.Swap(true) {
		return fmt.Errorf("%s: closing twice: %w", t.Name(), nvme.ErrGone)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.ctrl.Close()
	for _, m := range *t.table.Load() {
		if m.region != nil && err == nil {
			err = m.region.Free()
		}
	}
	t.table.Store(&[]mapping{})
	return err
}
