package vfiouser

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// errNotMapped is an access of the controller outside of what the host has mapped, or not in the way it allows.
var errNotMapped = errors.New("the host has not mapped this memory")

// hostMemory is the memory of one client. It belongs to the goroutine of the session.
type hostMemory struct {
	regions []hostRegion // by start; they do not overlap
	recent  [4]uint16    // indexes of regions that were used last: a command takes turns with rings and data
	oldest  uint8        // the place in recent that is given away next
	remote  func(write bool, iova uint64, p []byte) error
}

// hostRegion is one DMA map.
type hostRegion struct {
	start, end uint64 // IOVA
	bytes      []byte // nil when it is reached by messages
	flags      uint32
}

// find returns the region that holds all of a range, nil if there is none.
func (m *hostMemory) find(iova, n uint64) *hostRegion {
	for _, i := range m.recent {
		if int(i) < len(m.regions) && m.regions[i].holds(iova, n) {
			return &m.regions[i]
		}
	}
	i, ok := m.search(iova)
	if !ok {
		i--
	}
	if i < 0 || !m.regions[i].holds(iova, n) {
		return nil
	}
	m.recent[m.oldest] = uint16(i)
	m.oldest = (m.oldest + 1) % uint8(len(m.recent))
	return &m.regions[i]
}

func (r *hostRegion) holds(iova, n uint64) bool {
	return iova >= r.start && iova < r.end && n <= r.end-iova
}

// search returns where the region that starts at an address is, or belongs.
func (m *hostMemory) search(start uint64) (int, bool) {
	return slices.BinarySearchFunc(m.regions, start, func(r hostRegion, at uint64) int {
		switch {
		case r.start < at:
			return -1
		case r.start > at:
			return 1
		default:
			return 0
		}
	})
}

func accessFlag(write bool) uint32 {
	if write {
		return wire.DMAWriteable
	}
	return wire.DMAReadable
}

// Slice implements HostMemory.
func (m *hostMemory) Slice(iova uint64, n int, write bool) []byte {
	if n < 0 {
		return nil
	}
	r := m.find(iova, uint64(n))
	if r == nil || r.bytes == nil || r.flags&accessFlag(write) == 0 {
		return nil
	}
	at := iova - r.start
	return r.bytes[at : at+uint64(n) : at+uint64(n)]
}

// Remote implements HostMemory.
func (m *hostMemory) Remote(iova uint64, n int, write bool) bool {
	r := m.find(iova, uint64(max(n, 1)))
	return r != nil && r.bytes == nil && r.flags&accessFlag(write) != 0 && r.flags&wire.DMAReadable != 0
}

// Read implements HostMemory.
func (m *hostMemory) Read(iova uint64, p []byte) error { return m.copy(false, iova, p) }

// Write implements HostMemory.
func (m *hostMemory) Write(iova uint64, p []byte) error { return m.copy(true, iova, p) }

// copy copies between p and memory that may reach over several maps.
func (m *hostMemory) copy(write bool, iova uint64, p []byte) error {
	for len(p) > 0 {
		r := m.find(iova, 1)
		if r == nil || r.flags&accessFlag(write) == 0 {
			return fmt.Errorf("%d bytes at %#x: %w", len(p), iova, errNotMapped)
		}
		n := int(min(uint64(len(p)), r.end-iova))
		switch {
		case r.bytes == nil:
			if err := m.remote(write, iova, p[:n]); err != nil {
				return err
			}
		case write:
			copy(r.bytes[iova-r.start:], p[:n])
		default:
			copy(p[:n], r.bytes[iova-r.start:])
		}
		iova, p = iova+uint64(n), p[n:]
	}
	return nil
}

// add maps a region; fd is -1 for memory that is reached by messages, and stays the caller's.
func (m *hostMemory) add(d wire.DMAMap, fd int) error {
	if len(m.regions) >= maxMaps {
		return fmt.Errorf("more than %d maps: %w", maxMaps, unix.ENOSPC)
	}
	i, found := m.search(d.Address)
	if found || i > 0 && m.regions[i-1].end > d.Address || i < len(m.regions) && m.regions[i].start < d.Address+d.Size {
		return unix.EEXIST
	}
	r := hostRegion{start: d.Address, end: d.Address + d.Size, flags: d.Flags}
	if fd >= 0 {
		if (d.Address|d.Offset|d.Size)%pageSize != 0 {
			return fmt.Errorf("%d bytes at %#x, file offset %d, are not whole pages: %w", d.Size, d.Address, d.Offset, unix.EINVAL)
		}
		b, err := mapShared(fd, d.Offset, d.Size, d.Flags&wire.DMAWriteable != 0)
		if err != nil {
			return err
		}
		r.bytes = b
	}
	m.regions = slices.Insert(m.regions, i, r)
	return nil
}

// remove unmaps the region of exactly this range. Nothing may be using it.
func (m *hostMemory) remove(start, size uint64) error {
	i, found := m.search(start)
	if !found || m.regions[i].end-m.regions[i].start != size {
		return unix.ENOENT
	}
	b := m.regions[i].bytes
	m.regions = slices.Delete(m.regions, i, i+1)
	if b == nil {
		return nil
	}
	return unix.Munmap(b)
}

// removeAll unmaps everything. Nothing may be using it.
func (m *hostMemory) removeAll() error {
	var err error
	for _, r := range m.regions {
		if r.bytes != nil {
			err = errors.Join(err, unix.Munmap(r.bytes))
		}
	}
	m.regions = nil
	return err
}
