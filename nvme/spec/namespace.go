package spec

import (
	"errors"
	"fmt"
)

// ErrMalformed is returned when a list contradicts itself.
var ErrMalformed = errors.New("malformed structure")

// IdentifyNamespace is the identify namespace data structure of the NVM command set (NVM 1.0, figure 97).
type IdentifyNamespace struct {
	NSZE, NCAP, NUSE       uint64 // logical blocks
	NSFEAT                 uint8
	NLBAF                  uint8 // LBA formats, zero-based
	FLBAS                  uint8
	MC, DPC, DPS           uint8
	NMIC, RESCAP, FPI      uint8
	DLFEAT                 uint8
	NAWUN, NAWUPF, NACWU   uint16 // logical blocks, zero-based
	NABSN, NABO, NABSPF    uint16
	NOIOB                  uint16 // optimal I/O boundary, logical blocks; 0 is none
	NVMCAP                 Uint128
	NPWG, NPWA, NPDG, NPDA uint16 // preferred granularities and alignments, logical blocks, zero-based
	NOWS                   uint16
	MSSRL                  uint16 // logical blocks of one source range of copy
	MCL                    uint32 // logical blocks of a copy
	MSRC                   uint8  // source ranges of a copy, zero-based
	NSATTR                 uint8
	NGUID                  [16]byte
	EUI64                  [8]byte
	LBAF                   [64]LBAFormat
}

// Bits of fields of IdentifyNamespace.
const (
	NSFEATThin        = 1 << 0
	NSFEATAtomics     = 1 << 1 // NAWUN, NAWUPF and NACWU are defined
	NSFEATDeallocated = 1 << 2 // reads of deallocated blocks may fail
	NSFEATOptimal     = 1 << 4 // NPWG and its like are defined

	MCExtended = 1 << 0 // metadata may follow the data of each block
	MCSeparate = 1 << 1

	DPCType1, DPCType2, DPCType3 = 1 << 0, 1 << 1, 1 << 2
	DPCFirst, DPCLast            = 1 << 3, 1 << 4

	DPSTypeMask = 7      // protection type, 0 to 3
	DPSFirst    = 1 << 3 // protection information is the first bytes of the metadata

	DLFEATReadMask    = 7
	DLFEATReadZeroes  = 1      // of DLFEATReadMask: a deallocated block reads as zeros
	DLFEATWriteZeroes = 1 << 3 // write zeroes may deallocate

	NSATTRWriteProtected = 1 << 0
)

// LBAFormat is one LBA format.
type LBAFormat struct {
	MS    uint16 // metadata, bytes for each block
	LBADS uint8  // log2 of the data bytes of a block; 0 is not available
	RP    uint8  // relative performance, 0 best
}

func (f *LBAFormat) layout(c *codec) {
	c.u16(0, &f.MS)
	c.u8(2, &f.LBADS)
	c.u8(3, &f.RP)
	f.RP &= 3
}

func (i *IdentifyNamespace) layout(c *codec) {
	c.u64(0, &i.NSZE)
	c.u64(8, &i.NCAP)
	c.u64(16, &i.NUSE)
	for n, f := range []*uint8{&i.NSFEAT, &i.NLBAF, &i.FLBAS, &i.MC, &i.DPC, &i.DPS, &i.NMIC, &i.RESCAP, &i.FPI, &i.DLFEAT} {
		c.u8(24+n, f)
	}
	for n, f := range []*uint16{&i.NAWUN, &i.NAWUPF, &i.NACWU, &i.NABSN, &i.NABO, &i.NABSPF, &i.NOIOB} {
		c.u16(34+2*n, f)
	}
	c.u128(48, &i.NVMCAP)
	for n, f := range []*uint16{&i.NPWG, &i.NPWA, &i.NPDG, &i.NPDA, &i.NOWS, &i.MSSRL} {
		c.u16(64+2*n, f)
	}
	c.u32(76, &i.MCL)
	c.u8(80, &i.MSRC)
	c.u8(99, &i.NSATTR)
	c.bytes(104, i.NGUID[:])
	c.bytes(120, i.EUI64[:])
	for n := range i.LBAF {
		c.sub(128+4*n, 4, i.LBAF[n].layout)
	}
}

// Unmarshal reads the structure from the first 4096 bytes of b.
func (i *IdentifyNamespace) Unmarshal(b []byte) error { return unmarshal(b, IdentifySize, i.layout) }

// Marshal writes the structure to the first 4096 bytes of b.
func (i *IdentifyNamespace) Marshal(b []byte) error { return marshal(b, IdentifySize, i.layout) }

// Format is the index of the LBA format in use: bits 3:0 of FLBAS and, where there are more than 16 formats, bits 6:5.
func (i *IdentifyNamespace) Format() int {
	f := int(i.FLBAS & 15)
	if i.NLBAF > 15 {
		f |= int(i.FLBAS>>5&3) << 4
	}
	return f
}

// Extended tells whether the metadata of each block follows its data in the same buffer.
func (i *IdentifyNamespace) Extended() bool { return i.FLBAS>>4&1 != 0 }

// NVMNamespace is what identify says of a namespace for the NVM command set (NVM 1.0, figure 98).
type NVMNamespace struct {
	LBSTM uint64
	PIC   uint8
	ELBAF [64]uint32
}

func (i *NVMNamespace) layout(c *codec) {
	c.u64(0, &i.LBSTM)
	c.u8(8, &i.PIC)
	for n := range i.ELBAF {
		c.u32(12+4*n, &i.ELBAF[n])
	}
}

// Unmarshal reads the structure from the first 4096 bytes of b.
func (i *NVMNamespace) Unmarshal(b []byte) error { return unmarshal(b, IdentifySize, i.layout) }

// Marshal writes the structure to the first 4096 bytes of b.
func (i *NVMNamespace) Marshal(b []byte) error { return marshal(b, IdentifySize, i.layout) }

// GuardFormat is the protection information format of an LBA format: 0 is 16 bits of guard, 1 32 bits, 2 64 bits.
func (i *NVMNamespace) GuardFormat(format int) uint8 { return uint8(bits(i.ELBAF[format&63], 7, 2)) }

// Descriptors are the namespace identification descriptors (base 2.0, figure 277). What was not given is zero.
type Descriptors struct {
	EUI64 [8]byte
	NGUID [16]byte
	UUID  [16]byte
	CSI   uint8
}

// Types of identification descriptors.
const (
	nidEUI64 = 1
	nidNGUID = 2
	nidUUID  = 3
	nidCSI   = 4
)

// Unmarshal reads the list from the first 4096 bytes of b. A descriptor whose length does not fit its type is an error;
// unknown types are passed over.
func (d *Descriptors) Unmarshal(b []byte) error {
	if len(b) < IdentifySize {
		return fmt.Errorf("%d bytes, want %d: %w", len(b), IdentifySize, ErrShort)
	}
	*d = Descriptors{}
	for b = b[:IdentifySize]; len(b) >= 4 && b[1] != 0; {
		kind, n := b[0], int(b[1])
		if b = b[4:]; n > len(b) {
			return fmt.Errorf("descriptor of %d bytes, %d are left: %w", n, len(b), ErrMalformed)
		}
		if err := d.set(kind, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (d *Descriptors) set(kind uint8, id []byte) error {
	field, known := d.fields()[kind]
	if !known {
		return nil
	}
	if len(id) != len(field) {
		return fmt.Errorf("descriptor type %d has %d bytes, want %d: %w", kind, len(id), len(field), ErrMalformed)
	}
	copy(field, id)
	if kind == nidCSI {
		d.CSI = id[0]
	}
	return nil
}

func (d *Descriptors) fields() map[uint8][]byte {
	return map[uint8][]byte{nidEUI64: d.EUI64[:], nidNGUID: d.NGUID[:], nidUUID: d.UUID[:], nidCSI: {d.CSI}}
}

// Marshal writes the identifiers that are not zero, and the command set identifier, to the first 4096 bytes of b.
func (d *Descriptors) Marshal(b []byte) error {
	if len(b) < IdentifySize {
		return fmt.Errorf("%d bytes, want %d: %w", len(b), IdentifySize, ErrShort)
	}
	clear(b[:IdentifySize])
	fields := d.fields()
	for kind := uint8(nidEUI64); kind <= nidCSI; kind++ {
		id := fields[kind]
		if kind != nidCSI && allZero(id) {
			continue
		}
		b[0], b[1] = kind, uint8(len(id))
		b = b[4+copy(b[4:], id):]
	}
	return nil
}

func allZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}
