package vfio

import (
	"fmt"
	"runtime"
	"slices"
)

// region is a part of a device's file.
type region struct {
	regionInfo
	index int
}

// readRegion asks for a region, again with more room when the answer did not fit.
func readRegion(k kernel, fd, index int) (region, error) {
	b := make([]byte, 1<<10)
	for {
		copy(b, words(uint32(len(b)), 0, uint32(index), 0))
		if _, err := k.ioctl(fd, vfioDeviceGetRegion, b); err != nil {
			return region{}, fmt.Errorf("region %d: %w: %w", index, ErrKernel, err)
		}
		info, err := decodeRegionInfo(b)
		if err != nil {
			return region{}, fmt.Errorf("region %d: %w", index, err)
		}
		if info.argsz <= uint32(len(b)) {
			return region{info, index}, nil
		}
		if info.argsz > maxReply {
			return region{}, fmt.Errorf("region %d: %d bytes of information: %w", index, info.argsz, ErrBadReply)
		}
		b = make([]byte, info.argsz)
	}
}

// minRegisters is where the registers end and the doorbells begin (NVMe base 2.0, section 3.1.3), in bytes.
const minRegisters = 0x1000

// bar is BAR 0: mapped where the kernel allows, read and written through the device's file elsewhere.
type bar struct {
	kernel kernel
	fd     int
	region region
	maps   []mapping
	tables []area // MSI-X table and pending bits, where they lie in this BAR: the kernel's, not registers of the controller
}

// mapping is a mapped part of the BAR.
type mapping struct {
	area
	bytes []byte
}

// openBAR maps all parts of the region that can be mapped.
func openBAR(k kernel, fd int, r region, tables []area) (*bar, error) {
	if r.size < minRegisters {
		return nil, fmt.Errorf("BAR 0 has %d bytes, too few for the registers of an NVMe controller: %w", r.size, ErrBadReply)
	}
	b := &bar{kernel: k, fd: fd, region: r, tables: tables}
	if r.flags&regionMmap == 0 {
		return b, nil
	}
	areas := r.sparse
	if areas == nil {
		areas = []area{{0, r.size}}
	}
	for _, a := range areas {
		bytes, err := k.mapDevice(fd, int64(r.offset+a.offset), int(a.size))
		if err != nil {
			return nil, fmt.Errorf("mapping %d bytes of BAR 0 at %#x: %w: %w, closing: %v", a.size, a.offset, ErrKernel, err, b.close())
		}
		b.maps = append(b.maps, mapping{a, bytes})
	}
	return b, nil
}

func (b *bar) close() error {
	for len(b.maps) > 0 {
		last := len(b.maps) - 1
		if err := b.kernel.unmap(b.maps[last].bytes); err != nil {
			return fmt.Errorf("unmapping BAR 0: %w: %w", ErrKernel, err)
		}
		b.maps = b.maps[:last]
	}
	return nil
}

// check refuses accesses that no register of this width can have.
func (b *bar) check(offset uint32, size int) error {
	if int(offset)%size != 0 || uint64(offset)+uint64(size) > b.region.size {
		return fmt.Errorf("register of %d bytes at %#x of a BAR of %#x: %w", size, offset, b.region.size, ErrBadAccess)
	}
	if b.overlapsTable(uint64(offset), uint64(size)) {
		return fmt.Errorf("register at %#x lies in the MSI-X table: %w", offset, ErrBadAccess)
	}
	return nil
}

func (b *bar) overlapsTable(offset, size uint64) bool {
	return slices.ContainsFunc(b.tables, func(t area) bool { return offset < t.end() && t.offset < offset+size })
}

// mapped returns a part of the BAR as memory, nil where it is not mapped in one piece.
func (b *bar) mapped(offset uint64, size int) []byte {
	for _, m := range b.maps {
		if offset >= m.offset && offset-m.offset <= m.size && uint64(size) <= m.size-(offset-m.offset) {
			at := offset - m.offset
			return m.bytes[at : at+uint64(size) : at+uint64(size)]
		}
	}
	return nil
}

func (b *bar) window(offset uint64, size int) []byte {
	if size <= 0 || b.overlapsTable(offset, uint64(size)) {
		return nil
	}
	return b.mapped(offset, size)
}

// wide tells whether the machine loads and stores 64 bits at once.
const wide = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"

func (b *bar) load32(offset uint32) (v uint32, err error) {
	if m := b.mapped(uint64(offset), 4); m != nil {
		err = guarded(func() { v = load32(m) })
		return v, err
	}
	var buf [4]byte
	err = b.kernel.pread(b.fd, buf[:], int64(b.region.offset)+int64(offset))
	return little.Uint32(buf[:]), err
}

func (b *bar) load64(offset uint32) (v uint64, err error) {
	if m := b.mapped(uint64(offset), 8); m != nil && wide {
		err = guarded(func() { v = load64(m) })
		return v, err
	}
	low, err := b.load32(offset)
	if err != nil {
		return 0, err
	}
	high, err := b.load32(offset + 4)
	return uint64(high)<<32 | uint64(low), err
}

func (b *bar) store32(offset, v uint32) error {
	if m := b.mapped(uint64(offset), 4); m != nil {
		return guarded(func() { store32(m, v) })
	}
	return b.kernel.pwrite(b.fd, little.AppendUint32(nil, v), int64(b.region.offset)+int64(offset))
}

func (b *bar) store64(offset uint32, v uint64) error {
	if m := b.mapped(uint64(offset), 8); m != nil && wide {
		return guarded(func() { store64(m, v) })
	}
	if err := b.store32(offset, uint32(v)); err != nil {
		return err
	}
	return b.store32(offset+4, uint32(v>>32))
}
