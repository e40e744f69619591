package vfio

import (
	"encoding/binary"
	"fmt"
)

// native is the byte order of the kernel's structures.
var native = binary.NativeEndian

// Requests of vfio: _IO(';', 100+n), uapi/linux/vfio.h.
const (
	vfioGetAPIVersion     = 0x3b64 + 0
	vfioCheckExtension    = 0x3b64 + 1
	vfioSetIOMMU          = 0x3b64 + 2
	vfioGroupGetStatus    = 0x3b64 + 3
	vfioGroupSetContainer = 0x3b64 + 4
	vfioGroupGetDeviceFD  = 0x3b64 + 6
	vfioDeviceGetInfo     = 0x3b64 + 7
	vfioDeviceGetRegion   = 0x3b64 + 8
	vfioDeviceGetIRQ      = 0x3b64 + 9
	vfioDeviceSetIRQs     = 0x3b64 + 10
	vfioDeviceReset       = 0x3b64 + 11
	vfioIOMMUGetInfo      = 0x3b64 + 12
	vfioIOMMUMapDMA       = 0x3b64 + 13
	vfioIOMMUUnmapDMA     = 0x3b64 + 14
	vfioDeviceBindIOMMUFD = 0x3b64 + 18
	vfioDeviceAttachPT    = 0x3b64 + 19
)

// Requests of iommufd: _IO(';', 0x80+n), uapi/linux/iommufd.h.
const (
	iommuDestroy        = 0x3b80
	iommuIOASAlloc      = 0x3b81
	iommuIOASIOVARanges = 0x3b84
	iommuIOASMap        = 0x3b85
	iommuIOASUnmap      = 0x3b86
)

const (
	apiVersion    = 0
	iommuType1v2  = 3
	groupViable   = 1 << 0
	deviceResets  = 1 << 0
	deviceIsPCI   = 1 << 1
	regionMmap    = 1 << 2
	regionHasCaps = 1 << 3
	irqEventfd    = 1 << 0
	iommuHasCaps  = 1 << 1

	capSparseMmap = 1 // of a region
	capIOVARanges = 1 // of a type 1 IOMMU

	barRegion    = 0 // VFIO_PCI_BAR0_REGION_INDEX
	configRegion = 7 // VFIO_PCI_CONFIG_REGION_INDEX
	irqMSI       = 1
	irqMSIX      = 2
	irqRequest   = 4 // the device is wanted back

	irqDataNone       = 1 << 0
	irqDataEventfd    = 1 << 2
	irqActionTrigger  = 1 << 5
	dmaRead           = 1 << 0
	dmaWrite          = 1 << 1
	ioasFixedIOVA     = 1 << 0
	ioasWriteable     = 1 << 1
	ioasReadable      = 1 << 2
	maxReply          = 64 << 10 // no answer of the kernel is longer, in bytes
	headerBytes       = 8        // of every entry of a capability chain
	regionInfoBytes   = 32
	iommuInfoBytes    = 20
	irqInfoBytes      = 16
	deviceInfoBytes   = 20
	dmaMapBytes       = 32
	dmaUnmapBytes     = 24
	ioasMapBytes      = 40
	ioasUnmapBytes    = 24
	ioasRangesBytes   = 32
	maxIOVARanges     = 256
	maxSparseAreas    = 256
	errTruncatedShort = "%d bytes of %s, at least %d expected: %w"
)

// words makes a structure of 32-bit fields.
func words(v ...uint32) []byte {
	b := make([]byte, 4*len(v))
	for i, w := range v {
		native.PutUint32(b[4*i:], w)
	}
	return b
}

// area is a part of a region, in bytes from its start.
type area struct{ offset, size uint64 }

// end is the first byte after the area.
func (a area) end() uint64 { return a.offset + a.size }

// regionInfo is struct vfio_region_info: argsz, flags, index, cap_offset (32 bits each), size, offset (64 bits each),
// then the chain of capabilities.
type regionInfo struct {
	argsz, flags uint32
	size, offset uint64 // of the region, in bytes; where it lies in the device's file
	sparse       []area // the parts that can be mapped; nil: all of it
}

// decodeRegionInfo reads what VFIO_DEVICE_GET_REGION_INFO answered.
func decodeRegionInfo(b []byte) (regionInfo, error) {
	if len(b) < regionInfoBytes {
		return regionInfo{}, fmt.Errorf(errTruncatedShort, len(b), "region info", regionInfoBytes, ErrBadReply)
	}
	r := regionInfo{argsz: native.Uint32(b), flags: native.Uint32(b[4:]), size: native.Uint64(b[16:]), offset: native.Uint64(b[24:])}
	if r.size > 1<<46 || r.offset > 1<<62 {
		return r, fmt.Errorf("a region of %#x bytes at %#x: %w", r.size, r.offset, ErrBadReply)
	}
	if r.flags&regionHasCaps == 0 || r.argsz > uint32(len(b)) {
		return r, nil
	}
	err := eachCapability(b, native.Uint32(b[12:]), regionInfoBytes, func(id uint16, body []byte) (err error) {
		if id == capSparseMmap {
			r.sparse, err = decodeSparse(body, r.size)
		}
		return err
	})
	return r, err
}

// decodeSparse reads nr_areas, reserved (32 bits each), then offset and size (64 bits each) of every area.
func decodeSparse(b []byte, regionSize uint64) ([]area, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf(errTruncatedShort, len(b), "sparse areas", 8, ErrBadReply)
	}
	n := native.Uint32(b)
	if n > maxSparseAreas || uint64(len(b)-8) < 16*uint64(n) {
		return nil, fmt.Errorf("%d sparse areas in %d bytes: %w", n, len(b), ErrBadReply)
	}
	areas := make([]area, 0, n)
	for i := range int(n) {
		a := area{native.Uint64(b[8+16*i:]), native.Uint64(b[16+16*i:])}
		if a.offset > regionSize || a.size > regionSize-a.offset {
			return nil, fmt.Errorf("sparse area %#x+%#x of a region of %#x bytes: %w", a.offset, a.size, regionSize, ErrBadReply)
		}
		if a.size > 0 {
			areas = append(areas, a)
		}
	}
	return areas, nil
}

// eachCapability walks a chain of struct vfio_info_cap_header: id, version (16 bits each), next (32 bits, from the start
// of b). Every entry lies behind the structure's fixed part, and no chain is longer than b has room for.
func eachCapability(b []byte, first uint32, fixed int, visit func(id uint16, body []byte) error) error {
	for steps := 0; first != 0; steps++ {
		at := uint64(first)
		if steps > len(b)/headerBytes || at < uint64(fixed) || at+headerBytes > uint64(len(b)) {
			return fmt.Errorf("capability at %d of %d bytes: %w", first, len(b), ErrBadReply)
		}
		if err := visit(native.Uint16(b[at:]), b[at+headerBytes:]); err != nil {
			return err
		}
		first = native.Uint32(b[at+4:])
	}
	return nil
}

// iovaRange is a range of I/O addresses, both ends inclusive.
type iovaRange struct{ start, last uint64 }

// decodeIOMMUInfo reads what VFIO_IOMMU_GET_INFO answered: argsz, flags (32 bits each), iova_pgsizes (64 bits), cap_offset
// (32 bits), then capabilities.
func decodeIOMMUInfo(b []byte) (argsz uint32, ranges []iovaRange, err error) {
	if len(b) < iommuInfoBytes {
		return 0, nil, fmt.Errorf(errTruncatedShort, len(b), "IOMMU info", iommuInfoBytes, ErrBadReply)
	}
	argsz = native.Uint32(b)
	if native.Uint32(b[4:])&iommuHasCaps == 0 || argsz > uint32(len(b)) {
		return argsz, nil, nil
	}
	err = eachCapability(b, native.Uint32(b[16:]), iommuInfoBytes, func(id uint16, body []byte) (err error) {
		if id != capIOVARanges {
			return nil
		}
		if len(body) < 8 {
			return fmt.Errorf(errTruncatedShort, len(body), "IOVA ranges", 8, ErrBadReply)
		}
		ranges, err = decodeIOVARanges(body[8:], native.Uint32(body))
		return err
	})
	return argsz, ranges, err
}

// decodeIOVARanges reads n pairs of start and last, 64 bits each, which do not overlap and ascend.
func decodeIOVARanges(b []byte, n uint32) ([]iovaRange, error) {
	if n > maxIOVARanges || uint64(len(b)) < 16*uint64(n) {
		return nil, fmt.Errorf("%d IOVA ranges in %d bytes: %w", n, len(b), ErrBadReply)
	}
	ranges := make([]iovaRange, n)
	for i := range ranges {
		r := iovaRange{native.Uint64(b[16*i:]), native.Uint64(b[16*i+8:])}
		if r.last < r.start || i > 0 && r.start <= ranges[i-1].last {
			return nil, fmt.Errorf("IOVA range %#x-%#x: %w", r.start, r.last, ErrBadReply)
		}
		ranges[i] = r
	}
	return ranges, nil
}

// irqSet is struct vfio_irq_set: argsz, flags, index, start, count (32 bits each), then one descriptor for each vector,
// -1 for none. Without descriptors it switches the whole index off.
func irqSet(index, start int, fds ...int) []byte {
	flags := uint32(irqDataNone | irqActionTrigger)
	if len(fds) > 0 {
		flags = irqDataEventfd | irqActionTrigger
	}
	b := words(uint32(20+4*len(fds)), flags, uint32(index), uint32(start), uint32(len(fds)))
	for _, fd := range fds {
		b = native.AppendUint32(b, uint32(int32(fd)))
	}
	return b
}

// dmaMap is struct vfio_iommu_type1_dma_map: argsz, flags (32 bits each), vaddr, iova, size (64 bits each).
func dmaMap(vaddr, iova, size uint64) []byte {
	b := make([]byte, 0, dmaMapBytes)
	b = native.AppendUint32(b, dmaMapBytes)
	b = native.AppendUint32(b, dmaRead|dmaWrite)
	b = native.AppendUint64(b, vaddr)
	b = native.AppendUint64(b, iova)
	return native.AppendUint64(b, size)
}

// dmaUnmap is struct vfio_iommu_type1_dma_unmap: argsz, flags (32 bits each), iova, size (64 bits each).
func dmaUnmap(iova, size uint64) []byte {
	b := make([]byte, 0, dmaUnmapBytes)
	b = native.AppendUint32(b, dmaUnmapBytes)
	b = native.AppendUint32(b, 0)
	b = native.AppendUint64(b, iova)
	return native.AppendUint64(b, size)
}

// ioasMap is struct iommu_ioas_map: size, flags, ioas_id, reserved (32 bits each), user_va, length, iova (64 bits each).
func ioasMap(ioas uint32, vaddr, iova, size uint64) []byte {
	b := make([]byte, 0, ioasMapBytes)
	for _, w := range []uint32{ioasMapBytes, ioasFixedIOVA | ioasWriteable | ioasReadable, ioas, 0} {
		b = native.AppendUint32(b, w)
	}
	b = native.AppendUint64(b, vaddr)
	b = native.AppendUint64(b, size)
	return native.AppendUint64(b, iova)
}

// ioasUnmap is struct iommu_ioas_unmap: size, ioas_id (32 bits each), iova, length (64 bits each).
func ioasUnmap(ioas uint32, iova, size uint64) []byte {
	b := make([]byte, 0, ioasUnmapBytes)
	b = native.AppendUint32(b, ioasUnmapBytes)
	b = native.AppendUint32(b, ioas)
	b = native.AppendUint64(b, iova)
	return native.AppendUint64(b, size)
}
