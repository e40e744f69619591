package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Regions of a PCI device (VFIO_PCI_*_REGION_INDEX).
const (
	RegionBAR0   = 0
	RegionConfig = 7
	NumRegions   = 9
)

// Flags of a RegionInfo (VFIO_REGION_INFO_FLAG_*).
const (
	RegionRead  uint32 = 1 << 0
	RegionWrite uint32 = 1 << 1
	RegionMmap  uint32 = 1 << 2 // a descriptor for mmap(2) comes with the reply
	RegionCaps  uint32 = 1 << 3
)

const (
	regionInfoSize   = 32
	capHeaderSize    = 8
	capSparseMmap    = 1
	sparseFixed      = 16 // capability header, number of areas, reserved
	areaSize         = 16
	maxAreas         = 64
	regionAccessSize = 16
	ioFDsSize        = 16
)

// RegionInfoRoom is the room that a client leaves for a reply to CmdRegionInfo: everything that ParseRegionInfo accepts.
const RegionInfoRoom = 4096

// Area is a part of a region that can be mapped.
type Area struct{ Offset, Size uint64 }

// RegionInfo describes a region (struct vfio_region_info), with the parts that can be mapped
// (struct vfio_region_info_cap_sparse_mmap). None with RegionMmap: all of it.
//
//	OFFSET SIZE FIELD
//	0      4    argsz, of the full reply
//	4      4    Flags
//	8      4    Index
//	12     4    offset of the first capability in this structure
//	16     8    Size in bytes
//	24     8    Offset, to be added to an offset in the region for mmap(2)
//
// A capability:
//
//	0      2    id, 1
//	2      2    version, 1
//	4      4    offset of the next capability in the structure, 0: the last
//	8      4    number of areas
//	16     16   per area, offset in the region and size
type RegionInfo struct {
	Flags  uint32
	Index  uint32
	Size   uint64
	Offset uint64
	Areas  []Area
}

// AppendRegionInfoRequest encodes the command's payload.
func AppendRegionInfoRequest(b []byte, index uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, RegionInfoRoom)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, index)
	return append(b, make([]byte, regionInfoSize-12)...)
}

// ParseRegionInfoRequest decodes it: the region and the room for the reply.
func ParseRegionInfoRequest(b []byte) (index, room uint32, err error) {
	if err := checkArgSize("region info", b, regionInfoSize); err != nil {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b), nil
}

// Append encodes the reply's payload. Where the room does not suffice for the areas it says so in argsz and leaves them out.
func (r *RegionInfo) Append(b []byte, room uint32) []byte {
	full, first := uint32(regionInfoSize), uint32(0)
	if len(r.Areas) > 0 {
		full += uint32(sparseFixed + areaSize*len(r.Areas))
	}
	flags := r.Flags &^ RegionCaps
	fits := full > regionInfoSize && full <= room
	if fits {
		flags, first = flags|RegionCaps, regionInfoSize
	}
	b = binary.LittleEndian.AppendUint32(b, full)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint32(b, r.Index)
	b = binary.LittleEndian.AppendUint32(b, first)
	b = binary.LittleEndian.AppendUint64(b, r.Size)
	b = binary.LittleEndian.AppendUint64(b, r.Offset)
	if !fits {
		return b
	}
	b = binary.LittleEndian.AppendUint16(b, capSparseMmap)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Areas)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	for _, a := range r.Areas {
		b = binary.LittleEndian.AppendUint64(b, a.Offset)
		b = binary.LittleEndian.AppendUint64(b, a.Size)
	}
	return b
}

// ParseRegionInfo decodes the reply's payload. Areas lie within the region.
func ParseRegionInfo(b []byte) (RegionInfo, error) {
	if err := checkArgSize("region info", b, regionInfoSize); err != nil {
		return RegionInfo{}, err
	}
	r := RegionInfo{
		Flags:  binary.LittleEndian.Uint32(b[4:]),
		Index:  binary.LittleEndian.Uint32(b[8:]),
		Size:   binary.LittleEndian.Uint64(b[16:]),
		Offset: binary.LittleEndian.Uint64(b[24:]),
	}
	if r.Size > math.MaxInt64 || r.Offset > math.MaxInt64-r.Size {
		return RegionInfo{}, fmt.Errorf("%w: region %d of %d bytes at %d", ErrFormat, r.Index, r.Size, r.Offset)
	}
	if r.Flags&RegionCaps == 0 {
		return r, nil
	}
	return r, r.parseCaps(b, binary.LittleEndian.Uint32(b[12:]))
}

// parseCaps follows the list of capabilities. Offsets only grow, so it ends.
func (r *RegionInfo) parseCaps(b []byte, at uint32) error {
	for last := uint32(regionInfoSize - 1); at != 0; {
		if at <= last || uint64(at)+capHeaderSize > uint64(len(b)) {
			return fmt.Errorf("%w: region %d: capability at %d of %d bytes", ErrFormat, r.Index, at, len(b))
		}
		c := b[at:]
		if binary.LittleEndian.Uint16(c) == capSparseMmap {
			if err := r.parseAreas(c); err != nil {
				return err
			}
		}
		last, at = at, binary.LittleEndian.Uint32(c[4:])
	}
	return nil
}

func (r *RegionInfo) parseAreas(c []byte) error {
	if len(c) < sparseFixed {
		return tooShort("sparse mmap capability", len(c), sparseFixed)
	}
	n := binary.LittleEndian.Uint32(c[8:])
	if n > maxAreas || len(c) < sparseFixed+areaSize*int(n) {
		return fmt.Errorf("%w: region %d: %d areas in %d bytes, at most %d", ErrFormat, r.Index, n, len(c), maxAreas)
	}
	r.Areas = nil
	for i := range int(n) {
		e := c[sparseFixed+areaSize*i:]
		a := Area{binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint64(e[8:])}
		if a.Size > r.Size || a.Offset > r.Size-a.Size {
			return fmt.Errorf("%w: region %d of %d bytes: area of %d at %d", ErrFormat, r.Index, r.Size, a.Size, a.Offset)
		}
		if a.Size > 0 {
			r.Areas = append(r.Areas, a)
		}
	}
	return nil
}

// RegionAccess reads or writes a region. Data follows it in the command that writes and in the reply to the one that reads.
//
//	OFFSET SIZE FIELD
//	0      8    Offset in the region, in bytes
//	8      4    Region
//	12     4    Count of bytes
//	16     ...  Data
type RegionAccess struct {
	Offset uint64
	Region uint32
	Count  uint32
	Data   []byte
}

// Append encodes the payload.
func (a *RegionAccess) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, a.Offset)
	b = binary.LittleEndian.AppendUint32(b, a.Region)
	b = binary.LittleEndian.AppendUint32(b, a.Count)
	return append(b, a.Data...)
}

// ParseRegionAccess decodes the payload; withData says whether Count bytes of data belong to it.
func ParseRegionAccess(b []byte, withData bool) (RegionAccess, error) {
	if len(b) < regionAccessSize {
		return RegionAccess{}, tooShort("region access", len(b), regionAccessSize)
	}
	a := RegionAccess{Offset: binary.LittleEndian.Uint64(b), Region: binary.LittleEndian.Uint32(b[8:]), Count: binary.LittleEndian.Uint32(b[12:])}
	if a.Count > MaxTransfer {
		return RegionAccess{}, fmt.Errorf("%w: region access to %d bytes, at most %d", ErrFormat, a.Count, MaxTransfer)
	}
	if a.Offset > math.MaxUint64-uint64(a.Count) {
		return RegionAccess{}, fmt.Errorf("%w: region access at %#x", ErrFormat, a.Offset)
	}
	return a, takeData(&a.Data, b[regionAccessSize:], uint64(a.Count), withData)
}

// ParseIOFDsRequest decodes CmdRegionIOFDs and returns the region.
func ParseIOFDsRequest(b []byte) (index uint32, err error) {
	if err := checkArgSize("region I/O descriptors", b, ioFDsSize); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b[8:]), nil
}

// AppendNoIOFDs encodes the reply that there are none: doorbells are memory that is polled, so nothing could be gained.
func AppendNoIOFDs(b []byte, index uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, ioFDsSize)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, index)
	return binary.LittleEndian.AppendUint32(b, 0)
}
