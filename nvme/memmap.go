package nvme

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
)

// memoryMap knows which memory the controller reaches, and at which address. Looking up takes no lock.
type memoryMap struct {
	t     Transport
	mu    sync.Mutex
	table atomic.Pointer[[]region] // by start, never changed in place
}

// region is registered memory, contiguous for the controller.
type region struct {
	start, end uintptr
	iova       uint64
	bytes      []byte
	owned      bool // of Transport.Alloc
}

func newMemoryMap(t Transport) *memoryMap {
	m := &memoryMap{t: t}
	m.table.Store(&[]region{})
	return m
}

// find returns the region that holds an address; the caller looks at how far it reaches.
func (m *memoryMap) find(table []region, at uintptr) (region, bool) {
	if len(table) == 1 || len(table) > 1 && at < table[1].start {
		return table[0], at-table[0].start < table[0].end-table[0].start
	}
	i := sort.Search(len(table), func(i int) bool { return table[i].end > at })
	if i == len(table) || at < table[i].start {
		return region{}, false
	}
	return table[i], true
}

// register maps memory of the caller.
func (m *memoryMap) register(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("registering no memory: %w", ErrInvalid)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	iova, err := m.t.Map(b)
	if err != nil {
		return fmt.Errorf("%s: registering %d bytes: %w", m.t.Name(), len(b), err)
	}
	if err := m.add(region{bytes: b, iova: iova}); err != nil {
		return joinErrors(err, m.t.Unmap(b))
	}
	return nil
}

// alloc takes memory of the transport.
func (m *memoryMap) alloc(size int) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.t.Alloc(size)
	if err != nil {
		return nil, fmt.Errorf("%s: allocating %d bytes: %w", m.t.Name(), size, err)
	}
	if err := m.add(region{bytes: d.Bytes, iova: d.IOVA, owned: true}); err != nil {
		return nil, joinErrors(err, m.t.Free(d))
	}
	return d.Bytes, nil
}

// add is called with mu held.
func (m *memoryMap) add(r region) error {
	r.start = address(r.bytes)
	r.end = r.start + uintptr(len(r.bytes))
	if (uint64(r.start)|uint64(r.end)|r.iova)&(pageSize-1) != 0 {
		return fmt.Errorf("%d bytes at %#x, for the controller at %#x, are not whole pages: %w", len(r.bytes), r.start, r.iova, ErrInvalid)
	}
	old := *m.table.Load()
	i := sort.Search(len(old), func(i int) bool { return old[i].end > r.start })
	if i < len(old) && old[i].start < r.end {
		return fmt.Errorf("%d bytes overlap memory that is registered: %w", len(r.bytes), ErrInvalid)
	}
	grown := make([]region, 0, len(old)+1)
	grown = append(append(append(grown, old[:i]...), r), old[i:]...)
	m.table.Store(&grown)
	return nil
}

// remove takes a region out; owned says which of alloc and register it came from.
func (m *memoryMap) remove(b []byte, owned bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.table.Load()
	for i, r := range old {
		if r.start == address(b) && len(r.bytes) == len(b) && r.owned == owned {
			shrunk := append(append(make([]region, 0, len(old)-1), old[:i]...), old[i+1:]...)
			m.table.Store(&shrunk)
			if owned {
				return m.t.Free(DMA{Bytes: r.bytes, IOVA: r.iova})
			}
			return m.t.Unmap(b)
		}
	}
	return fmt.Errorf("%d bytes: %w", len(b), ErrNotMapped)
}

// close ends everything; the transport's Close follows.
func (m *memoryMap) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	for _, r := range *m.table.Load() {
		if r.owned {
			err = joinErrors(err, m.t.Free(DMA{Bytes: r.bytes, IOVA: r.iova}))
		} else {
			err = joinErrors(err, m.t.Unmap(r.bytes))
		}
	}
	m.table.Store(&[]region{})
	return err
}
