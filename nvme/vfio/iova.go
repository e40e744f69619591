package vfio

import (
	"fmt"
	"slices"
)

// lowestIOVA keeps addresses away from 0, which reads as "none" in a command, and from what old devices reserve.
const lowestIOVA = 1 << 20

// addresses hands out I/O addresses, lowest first. Not safe for concurrent use.
type addresses struct {
	free []iovaRange // ascending, never adjacent
	used map[uint64]uint64
}

// newAddresses begins with the ranges that the IOMMU allows.
func newAddresses(ranges []iovaRange) *addresses {
	a := &addresses{used: make(map[uint64]uint64)}
	for _, r := range ranges {
		if r.last < lowestIOVA {
			continue
		}
		r.start = max(r.start, lowestIOVA)
		a.free = append(a.free, r)
	}
	return a
}

// take returns the lowest address at a multiple of align, a power of two, with size bytes behind it.
func (a *addresses) take(size, align uint64) (uint64, error) {
	for i, r := range a.free {
		start := (r.start + align - 1) &^ (align - 1)
		if start < r.start || start > r.last || r.last-start < size-1 {
			continue
		}
		var rest []iovaRange
		if start > r.start {
			rest = append(rest, iovaRange{r.start, start - 1})
		}
		if last := start + size - 1; last < r.last {
			rest = append(rest, iovaRange{last + 1, r.last})
		}
		a.free = slices.Replace(a.free, i, i+1, rest...)
		a.used[start] = size
		return start, nil
	}
	return 0, fmt.Errorf("no room for %d bytes among the addresses that the IOMMU offers: %w", size, ErrNoSpace)
}

// release gives back what take returned.
func (a *addresses) release(start uint64) {
	size, ok := a.used[start]
	if !ok {
		return
	}
	delete(a.used, start)
	r := iovaRange{start, start + size - 1}
	i, _ := slices.BinarySearchFunc(a.free, start, func(f iovaRange, at uint64) int {
		if f.start < at {
			return -1
		}
		return 1
	})
	if i < len(a.free) && a.free[i].start == r.last+1 {
		r.last = a.free[i].last
		a.free = slices.Delete(a.free, i, i+1)
	}
	if i > 0 && a.free[i-1].last == r.start-1 {
		a.free[i-1].last = r.last
		return
	}
	a.free = slices.Insert(a.free, i, r)
}
