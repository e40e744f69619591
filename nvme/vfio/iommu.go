package vfio

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/blobkv/blobkv/nvme"
)

// iommu is the I/O address space of one controller. Its memory is pinned while it is mapped.
type iommu interface {
	// ranges are the addresses that may be used.
	ranges() ([]iovaRange, error)
	mapDMA(vaddr, iova, size uint64) error
	unmapDMA(iova, size uint64) error
}

// container1 is a vfio container with a type 1 version 2 IOMMU.
type container1 struct {
	kernel kernel
	fd     int
}

func (c *container1) ranges() ([]iovaRange, error) {
	b := make([]byte, 4<<10)
	for {
		native.PutUint32(b, uint32(len(b)))
		if _, err := c.kernel.ioctl(c.fd, vfioIOMMUGetInfo, b); err != nil {
			return nil, fmt.Errorf("what the IOMMU can do: %w: %w", ErrKernel, err)
		}
		argsz, ranges, err := decodeIOMMUInfo(b)
		if err != nil {
			return nil, err
		}
		if argsz <= uint32(len(b)) {
			if len(ranges) == 0 {
				return nil, fmt.Errorf("the kernel does not say which I/O addresses may be used (before Linux 5.4): %w", nvme.ErrUnsupported)
			}
			return ranges, nil
		}
		if argsz > maxReply {
			return nil, fmt.Errorf("%d bytes about an IOMMU: %w", argsz, ErrBadReply)
		}
		b = make([]byte, argsz)
	}
}

func (c *container1) mapDMA(vaddr, iova, size uint64) error {
	_, err := c.kernel.ioctl(c.fd, vfioIOMMUMapDMA, dmaMap(vaddr, iova, size))
	return err
}

func (c *container1) unmapDMA(iova, size uint64) error {
	_, err := c.kernel.ioctl(c.fd, vfioIOMMUUnmapDMA, dmaUnmap(iova, size))
	return err
}

// addressSpace is an I/O address space of an iommufd.
type addressSpace struct {
	kernel kernel
	fd     int
	ioas   uint32
}

// ranges passes struct iommu_ioas_iova_ranges: size, ioas_id, num_iovas, reserved (32 bits each), the address of the pairs,
// the alignment (64 bits each).
func (a *addressSpace) ranges() ([]iovaRange, error) {
	pairs := make([]byte, 16*maxIOVARanges)
	var pin runtime.Pinner
	pin.Pin(&pairs[0])
	defer pin.Unpin()
	b := words(ioasRangesBytes, a.ioas, maxIOVARanges, 0)
	b = native.AppendUint64(b, uint64(uintptr(unsafe.Pointer(&pairs[0]))))
	b = native.AppendUint64(b, 0)
	if _, err := a.kernel.ioctl(a.fd, iommuIOASIOVARanges, b); err != nil {
		return nil, fmt.Errorf("which I/O addresses may be used: %w: %w", ErrKernel, err)
	}
	return decodeIOVARanges(pairs, native.Uint32(b[8:]))
}

func (a *addressSpace) mapDMA(vaddr, iova, size uint64) error {
	_, err := a.kernel.ioctl(a.fd, iommuIOASMap, ioasMap(a.ioas, vaddr, iova, size))
	return err
}

func (a *addressSpace) unmapDMA(iova, size uint64) error {
	_, err := a.kernel.ioctl(a.fd, iommuIOASUnmap, ioasUnmap(a.ioas, iova, size))
	return err
}
