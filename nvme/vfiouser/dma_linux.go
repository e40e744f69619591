package vfiouser

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

const (
	hugePageSize = 2 << 20
	// maxMaps is how many maps a connection has at a time; servers have limits of their own.
	maxMaps = 4096
)

// memoryTable is the memory that the server reaches, by its address there: what Alloc made has the one of this process, which is
// unique without further bookkeeping, and buffers of pools have one above all of those (sharedBase).
type memoryTable struct {
	mu      sync.Mutex
	regions map[uint64]region
}

// region is memory that the server reaches.
type region struct {
	bytes []byte
	own   bool // Alloc made it
}

func newMemoryTable() *memoryTable { return &memoryTable{regions: make(map[uint64]region)} }

func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// Alloc returns memory in a memfd of its own, which cannot change its size. With Options.HugePages it is rounded up to 2 MiB.
func (c *Client) Alloc(size int) (nvme.DMA, error) {
	if size <= 0 {
		return nvme.DMA{}, fmt.Errorf("%d bytes of DMA memory: %w", size, unix.EINVAL)
	}
	fd, b, err := makeShared(size, c.o.HugePages)
	if err != nil {
		return nvme.DMA{}, err
	}
	iova, err := c.share(fd, b)
	if err := errors.Join(err, unix.Close(fd)); err != nil { // the map keeps the memory
		return nvme.DMA{}, errors.Join(err, unix.Munmap(b))
	}
	return nvme.DMA{Bytes: b[:size:size], IOVA: iova}, nil
}

// makeShared makes memory that another process can map.
func makeShared(size int, huge bool) (int, []byte, error) {
	flags, unit := unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING, int(pageSize)
	if huge {
		flags, unit = flags|unix.MFD_HUGETLB|unix.MFD_HUGE_2MB, hugePageSize
	}
	fd, err := unix.MemfdCreate("vfio-user-dma", flags)
	if err != nil {
		return -1, nil, fmt.Errorf("making shared memory: %w", err)
	}
	n := (size + unit - 1) / unit * unit
	b, err := fillShared(fd, n)
	if err != nil {
		err = fmt.Errorf("%d bytes of shared memory: %w", n, err)
		if huge {
			err = fmt.Errorf("%w (in huge pages of 2 MiB: /proc/sys/vm/nr_hugepages says how many there are)", err)
		}
		return -1, nil, errors.Join(err, unix.Close(fd))
	}
	return fd, b, nil
}

func fillShared(fd, n int) ([]byte, error) {
	if err := unix.Ftruncate(fd, int64(n)); err != nil {
		return nil, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, err
	}
	return unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
}

// share tells the server of memory that Alloc made. The table knows it first: the server may use it before its answer has arrived.
func (c *Client) share(fd int, b []byte) (uint64, error) {
	iova := addressOf(b)
	if err := c.memory.add(iova, region{b, true}); err != nil {
		return 0, err
	}
	if err := c.beginMap(fd, 0, iova, uint64(len(b))); err != nil {
		c.memory.remove(iova)
		return 0, err
	}
	return iova, nil
}

// beginMap has the server map part of a file.
func (c *Client) beginMap(fd int, offset, iova, size uint64) error {
	m := wire.DMAMap{Flags: wire.DMAReadable | wire.DMAWriteable, Offset: offset, Address: iova, Size: size}
	_, err := c.call(wire.CmdDMAMap, &m, []int{fd})
	return err
}

// endMap ends what beginMap began.
func (c *Client) endMap(iova, size uint64) error {
	_, err := c.call(wire.CmdDMAUnmap, &wire.DMAUnmap{Address: iova, Size: size}, nil)
	return err
}

// Free ends the server's access to what Alloc gave and releases it. The memory is released even when the server is gone.
func (c *Client) Free(m nvme.DMA) error {
	r, ok := c.memory.find(m.IOVA)
	if !ok || !r.own {
		return fmt.Errorf("freeing %d bytes at %#x, which were not allocated: %w", len(m.Bytes), m.IOVA, unix.EINVAL)
	}
	err := c.unshare(m.IOVA, r)
	if err != nil && !errors.Is(err, nvme.ErrGone) {
		return err // the server still has it
	}
	return errors.Join(err, unix.Munmap(r.bytes))
}

// unshare keeps the region in the table when the server refuses to let go of it.
func (c *Client) unshare(iova uint64, r region) error {
	var err error
	if r.own {
		err = c.endMap(iova, uint64(len(r.bytes)))
	} else {
		err = c.leaveWindow(iova)
	}
	if err == nil || errors.Is(err, nvme.ErrGone) {
		c.memory.remove(iova)
	}
	return err
}

// unshareAll ends the server's access to memory of callers, who go on to use it. A server that is gone has no access.
func (c *Client) unshareAll() error {
	var err error
	for iova, r := range c.memory.foreign() {
		if e := c.unshare(iova, r); e != nil && !errors.Is(e, nvme.ErrGone) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// foreign is the memory of callers.
func (t *memoryTable) foreign() map[uint64]region {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := maps.Clone(t.regions)
	maps.DeleteFunc(all, func(_ uint64, r region) bool { return r.own })
	return all
}

func (t *memoryTable) add(iova uint64, r region) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.regions) >= maxMaps {
		return fmt.Errorf("%d maps of memory, no more are possible: %w", maxMaps, unix.ENOSPC)
	}
	if _, ok := t.regions[iova]; ok {
		return fmt.Errorf("memory at %#x is mapped already: %w", iova, unix.EEXIST)
	}
	t.regions[iova] = r
	return nil
}

func (t *memoryTable) remove(iova uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.regions, iova)
}

func (t *memoryTable) find(iova uint64) (region, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.regions[iova]
	return r, ok
}

// close releases what is still allocated. Memory of callers is theirs.
func (t *memoryTable) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	for iova, r := range t.regions {
		if r.own {
			err = errors.Join(err, unix.Munmap(r.bytes))
		}
		delete(t.regions, iova)
	}
	return err
}

// serve carries out a command of the server, which may read and write all memory that it was given by messages too.
func (t *memoryTable) serve(m *message, reply []byte) ([]byte, unix.Errno) {
	if m.Command != wire.CmdDMARead && m.Command != wire.CmdDMAWrite {
		return reply, unix.ENOTSUP
	}
	writes := m.Command == wire.CmdDMAWrite
	a, err := wire.ParseDMAAccess(m.payload, writes)
	if err != nil {
		return reply, unix.EINVAL
	}
	t.mu.Lock() // keeps the memory while it is copied
	defer t.mu.Unlock()
	b := t.part(a.Address, a.Count)
	if b == nil {
		return reply, unix.EFAULT
	}
	if writes {
		copy(b, a.Data)
		a.Data = nil
	} else {
		a.Data = b
	}
	return a.Append(reply), 0
}

// part is called with mu held. It returns nil unless one region holds all of the range.
func (t *memoryTable) part(iova, n uint64) []byte {
	for start, r := range t.regions {
		size := uint64(len(r.bytes))
		if iova >= start && iova-start <= size && n <= size-(iova-start) {
			return r.bytes[iova-start:][:n]
		}
	}
	return nil
}
