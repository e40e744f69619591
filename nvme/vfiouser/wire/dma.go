package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Flags of a DMAMap.
const (
	DMAReadable  uint32 = 1 << 0
	DMAWriteable uint32 = 1 << 1
	DMAMmap      uint32 = 1 << 2 // libvfio-user: the descriptor is for mmap(2), which is the default
)

// UnmapAll of a DMAUnmap ends all maps (VFIO_DMA_UNMAP_FLAG_ALL).
const UnmapAll uint32 = 1 << 1

const (
	dmaMapSize    = 32
	dmaUnmapSize  = 24
	dmaAccessSize = 16
)

// DMAMap lets the server reach memory, through the descriptor that comes with the message, if there is one.
//
//	OFFSET SIZE FIELD
//	0      4    argsz, size of this structure
//	4      4    Flags
//	8      8    Offset in the file, in bytes
//	16     8    Address, IOVA
//	24     8    Size in bytes
type DMAMap struct {
	Flags   uint32
	Offset  uint64
	Address uint64
	Size    uint64
}

// Append encodes the message's payload.
func (m *DMAMap) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, dmaMapSize)
	b = binary.LittleEndian.AppendUint32(b, m.Flags)
	b = binary.LittleEndian.AppendUint64(b, m.Offset)
	b = binary.LittleEndian.AppendUint64(b, m.Address)
	return binary.LittleEndian.AppendUint64(b, m.Size)
}

// ParseDMAMap decodes the payload. Neither the range of addresses nor that of the file is empty or wraps around.
func ParseDMAMap(b []byte) (DMAMap, error) {
	if err := checkArgSize("DMA map", b, dmaMapSize); err != nil {
		return DMAMap{}, err
	}
	m := DMAMap{
		Flags:   binary.LittleEndian.Uint32(b[4:]),
		Offset:  binary.LittleEndian.Uint64(b[8:]),
		Address: binary.LittleEndian.Uint64(b[16:]),
		Size:    binary.LittleEndian.Uint64(b[24:]),
	}
	if m.Flags&^(DMAReadable|DMAWriteable|DMAMmap) != 0 {
		return DMAMap{}, fmt.Errorf("%w: DMA map with flags %#x", ErrFormat, m.Flags)
	}
	if m.Size == 0 || m.Size > math.MaxInt64 || m.Address > math.MaxUint64-m.Size || m.Offset > math.MaxInt64-m.Size {
		return DMAMap{}, fmt.Errorf("%w: DMA map of %d bytes at %#x, file offset %d", ErrFormat, m.Size, m.Address, m.Offset)
	}
	return m, nil
}

// DMAUnmap ends what a DMAMap of the same address and size began. The reply repeats it.
//
//	OFFSET SIZE FIELD
//	0      4    argsz
//	4      4    Flags
//	8      8    Address, IOVA
//	16     8    Size in bytes
type DMAUnmap struct {
	Flags   uint32
	Address uint64
	Size    uint64
}

// Append encodes the payload of command and reply.
func (u *DMAUnmap) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, dmaUnmapSize)
	b = binary.LittleEndian.AppendUint32(b, u.Flags)
	b = binary.LittleEndian.AppendUint64(b, u.Address)
	return binary.LittleEndian.AppendUint64(b, u.Size)
}

// ParseDMAUnmap decodes the payload.
func ParseDMAUnmap(b []byte) (DMAUnmap, error) {
	if err := checkArgSize("DMA unmap", b, dmaUnmapSize); err != nil {
		return DMAUnmap{}, err
	}
	u := DMAUnmap{
		Flags:   binary.LittleEndian.Uint32(b[4:]),
		Address: binary.LittleEndian.Uint64(b[8:]),
		Size:    binary.LittleEndian.Uint64(b[16:]),
	}
	switch {
	case u.Flags&^UnmapAll != 0:
		return DMAUnmap{}, fmt.Errorf("%w: DMA unmap with flags %#x", ErrFormat, u.Flags)
	case u.Flags == UnmapAll && (u.Address != 0 || u.Size != 0):
		return DMAUnmap{}, fmt.Errorf("%w: DMA unmap of everything with an address", ErrFormat)
	}
	return u, nil
}

// DMAAccess reads or writes memory of the client that was mapped without a descriptor. Data follows it in the command that writes
// and in the reply to the one that reads.
//
//	OFFSET SIZE FIELD
//	0      8    Address, IOVA
//	8      8    Count of bytes
//	16     ...  Data
type DMAAccess struct {
	Address uint64
	Count   uint64
	Data    []byte
}

// Append encodes the payload.
func (a *DMAAccess) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, a.Address)
	b = binary.LittleEndian.AppendUint64(b, a.Count)
	return append(b, a.Data...)
}

// ParseDMAAccess decodes the payload; withData says whether Count bytes of data belong to it. A reply to a write whose
// count has 4 bytes, as the specification's table has it, is accepted.
func ParseDMAAccess(b []byte, withData bool) (DMAAccess, error) {
	if !withData && len(b) == dmaAccessSize-4 {
		b = append(b[:len(b):len(b)], 0, 0, 0, 0)
	}
	if len(b) < dmaAccessSize {
		return DMAAccess{}, tooShort("DMA access", len(b), dmaAccessSize)
	}
	a := DMAAccess{Address: binary.LittleEndian.Uint64(b[0:]), Count: binary.LittleEndian.Uint64(b[8:])}
	if a.Count > MaxTransfer {
		return DMAAccess{}, fmt.Errorf("%w: DMA access to %d bytes, at most %d", ErrFormat, a.Count, MaxTransfer)
	}
	if a.Address > math.MaxUint64-a.Count {
		return DMAAccess{}, fmt.Errorf("%w: DMA access to %d bytes at %#x", ErrFormat, a.Count, a.Address)
	}
	return a, takeData(&a.Data, b[dmaAccessSize:], a.Count, withData)
}

// takeData checks that the rest of a payload is as long as it says.
func takeData(to *[]byte, rest []byte, count uint64, withData bool) error {
	want := count
	if !withData {
		want = 0
	}
	if uint64(len(rest)) != want {
		return fmt.Errorf("%w: %d bytes of data, want %d", ErrFormat, len(rest), want)
	}
	if withData {
		*to = rest
	}
	return nil
}
