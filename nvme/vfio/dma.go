package vfio

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/blobkv/blobkv/nvme"
)

const (
	hugePage = 2 << 20 // bytes
	// hugeWaste is which part of an allocation may be lost by rounding up to huge pages.
	hugeWaste = 8
)

// pageSize is the granularity of the IOMMU and of locked memory, in bytes.
var pageSize = os.Getpagesize()

// Memory says what a controller reaches, in bytes.
type Memory struct {
	Allocated int64 // by Alloc, in whole pages
	Huge      int64 // of Allocated, in huge pages
	Mapped    int64 // of callers, by Map
}

// dmaSpace owns the memory that the controller reaches.
type dmaSpace struct {
	kernel kernel
	iommu  iommu

	mu struct {
		sync.Mutex
		addresses *addresses
		own       map[*byte]block // by Alloc
		callers   map[*byte]block // by Map
		memory    Memory
		noHuge    bool // the machine had no huge page; not asked for again
	}
}

// block is mapped memory.
type block struct {
	bytes []byte
	iova  uint64
	huge  bool
}

func newDMASpace(k kernel, mmu iommu, ranges []iovaRange) *dmaSpace {
	s := &dmaSpace{kernel: k, iommu: mmu}
	s.mu.addresses = newAddresses(ranges)
	s.mu.own = make(map[*byte]block)
	s.mu.callers = make(map[*byte]block)
	return s
}

func (s *dmaSpace) memory() Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.memory
}

// roundUp rounds n up to a multiple of unit, a power of two.
func roundUp(n, unit int) int { return (n + unit - 1) &^ (unit - 1) }

// alloc maps memory of its own. What the kernel maps is zeroed.
func (s *dmaSpace) alloc(size int) (nvme.DMA, error) {
	if size <= 0 || size > math.MaxInt32 {
		return nvme.DMA{}, fmt.Errorf("%d bytes of memory for a controller: %w", size, ErrBadAccess)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.take(size)
	if err != nil {
		return nvme.DMA{}, err
	}
	s.mu.own[&b.bytes[0]] = b
	s.mu.memory.Allocated += int64(len(b.bytes))
	if b.huge {
		s.mu.memory.Huge += int64(len(b.bytes))
	}
	return nvme.DMA{Bytes: b.bytes[:size:size], IOVA: b.iova}, nil
}

// take tries huge pages for what fills them, small ones otherwise.
func (s *dmaSpace) take(size int) (block, error) {
	if whole := roundUp(size, hugePage); whole-size <= whole/hugeWaste && !s.mu.noHuge {
		if bytes, err := s.kernel.mapMemory(whole, true); err == nil {
			return s.mapOwn(bytes, true)
		}
		s.mu.noHuge = true // no page is reserved on this machine, or none is left
	}
	bytes, err := s.kernel.mapMemory(roundUp(size, pageSize), false)
	if err != nil {
		return block{}, fmt.Errorf("%d bytes of memory: %w: %w", size, ErrKernel, err)
	}
	return s.mapOwn(bytes, false)
}

// mapOwn lets the controller reach memory that it owns, and unmaps it if that fails.
func (s *dmaSpace) mapOwn(bytes []byte, huge bool) (block, error) {
	iova, err := s.enter(bytes)
	if err != nil {
		return block{}, errors.Join(err, s.kernel.unmap(bytes))
	}
	return block{bytes, iova, huge}, nil
}

// enter takes addresses and maps memory there. Called with mu held.
func (s *dmaSpace) enter(bytes []byte) (uint64, error) {
	align := uint64(pageSize)
	if len(bytes) >= hugePage {
		align = hugePage // lets the IOMMU use large pages
	}
	iova, err := s.mu.addresses.take(uint64(len(bytes)), align)
	if err != nil {
		return 0, err
	}
	if err := s.iommu.mapDMA(address(bytes), iova, uint64(len(bytes))); err != nil {
		s.mu.addresses.release(iova)
		return 0, s.explain(err, len(bytes))
	}
	return iova, nil
}

// leave undoes enter. Called with mu held. Addresses that the kernel would not unmap stay taken.
func (s *dmaSpace) leave(b block) error {
	if err := s.iommu.unmapDMA(b.iova, uint64(len(b.bytes))); err != nil {
		return fmt.Errorf("unmapping %d bytes at I/O address %#x: %w: %w", len(b.bytes), b.iova, ErrKernel, err)
	}
	s.mu.addresses.release(b.iova)
	return nil
}

// address is where memory lies in the process.
func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// explain says what the kernel's refusal to map memory means.
func (s *dmaSpace) explain(err error, size int) error {
	switch {
	case errors.Is(err, syscall.ENOMEM):
		limit, inUse := s.kernel.lockedLimit(), uint64(s.mu.memory.Allocated+s.mu.memory.Mapped)
		need := inUse + uint64(size)
		if limit == math.MaxUint64 {
			break
		}
		return fmt.Errorf("locking %d KiB for the controller: %w: limit %d KiB, needed %d KiB (%d KiB are locked for it already); raise with "+
			"`ulimit -l`, LimitMEMLOCK= in the service's unit, or memlock in limits.conf: %w", size>>10, ErrLockedMemory, limit>>10, need>>10, inUse>>10, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("mapping %d KiB: %w: the module's parameter vfio_iommu_type1.dma_entry_limit bounds the number of mappings: %w",
			size>>10, ErrNoSpace, err)
	case errors.Is(err, syscall.EFAULT), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EOPNOTSUPP):
		return fmt.Errorf("%d KiB of memory: %w: the kernel cannot lock memory of this kind: %w", size>>10, nvme.ErrNotShareable, err)
	}
	return fmt.Errorf("mapping %d KiB for the controller: %w: %w", size>>10, ErrKernel, err)
}

// free gives back what alloc gave.
func (s *dmaSpace) free(m nvme.DMA) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(m.Bytes) == 0 {
		return fmt.Errorf("no memory to free: %w", ErrBadAccess)
	}
	b, ok := s.mu.own[&m.Bytes[0]]
	if !ok || b.iova != m.IOVA {
		return fmt.Errorf("%d bytes at I/O address %#x were not allocated here: %w", len(m.Bytes), m.IOVA, ErrBadAccess)
	}
	if err := s.leave(b); err != nil {
		return err
	}
	return s.drop(b)
}

// drop forgets and unmaps memory of its own that the controller no longer reaches.
func (s *dmaSpace) drop(b block) error {
	delete(s.mu.own, &b.bytes[0])
	s.mu.memory.Allocated -= int64(len(b.bytes))
	if b.huge {
		s.mu.memory.Huge -= int64(len(b.bytes))
		s.mu.noHuge = false
	}
	if err := s.kernel.unmap(b.bytes); err != nil {
		return fmt.Errorf("unmapping %d bytes of memory: %w: %w", len(b.bytes), ErrKernel, err)
	}
	return nil
}

// mapCaller lets the controller reach memory of the caller.
func (s *dmaSpace) mapCaller(bytes []byte) (uint64, error) {
	if len(bytes) == 0 || address(bytes)%uint64(pageSize) != 0 || len(bytes)%pageSize != 0 {
		return 0, fmt.Errorf("%d bytes of memory do not start and end at a page of %d: %w", len(bytes), pageSize, nvme.ErrNotShareable)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.mu.callers[&bytes[0]]; ok {
		return 0, fmt.Errorf("%d bytes of memory are mapped already: %w", len(bytes), ErrBadAccess)
	}
	iova, err := s.enter(bytes)
	if err != nil {
		return 0, err
	}
	s.mu.callers[&bytes[0]] = block{bytes, iova, false}
	s.mu.memory.Mapped += int64(len(bytes))
	return iova, nil
}

// unmapCaller ends what mapCaller began.
func (s *dmaSpace) unmapCaller(bytes []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(bytes) == 0 {
		return fmt.Errorf("no memory to unmap: %w", ErrBadAccess)
	}
	b, ok := s.mu.callers[&bytes[0]]
	if !ok || len(b.bytes) != len(bytes) {
		return fmt.Errorf("%d bytes of memory were not mapped here: %w", len(bytes), ErrBadAccess)
	}
	if err := s.leave(b); err != nil {
		return err
	}
	delete(s.mu.callers, &bytes[0])
	s.mu.memory.Mapped -= int64(len(bytes))
	return nil
}

// close unmaps everything. Memory that the kernel would not take from the controller is left mapped in the process too,
// so that nobody gets it while the controller may write to it.
func (s *dmaSpace) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed []string
	fail := func(err error) bool {
		if err != nil {
			failed = append(failed, err.Error())
		}
		return err != nil
	}
	for at, b := range s.mu.callers {
		if fail(s.leave(b)) {
			continue
		}
		delete(s.mu.callers, at)
		s.mu.memory.Mapped -= int64(len(b.bytes))
	}
	for _, b := range s.mu.own {
		if fail(s.leave(b)) {
			continue
		}
		fail(s.drop(b))
	}
	if failed != nil {
		return fmt.Errorf("%s: %w", strings.Join(failed, "; "), ErrKernel)
	}
	return nil
}
