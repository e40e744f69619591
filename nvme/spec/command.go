package spec

import "unsafe"

// Sizes of queue entries and what they point to, in bytes.
const (
	CommandSize    = 64
	CompletionSize = 16
	SGLSize        = 16
	DSMRangeSize   = 16
	CopyRangeSize  = 32
)

// Command is a submission queue entry (base 2.0, figure 87).
//
//	OFFSET SIZE FIELD
//	     0    1 opcode
//	     1    1 flags: FUSE in bits 1:0, PSDT in bits 7:6
//	     2    2 command identifier
//	     4    4 namespace identifier
//	     8    8 command dwords 2 and 3
//	    16    8 metadata pointer
//	    24   16 data pointer: PRP entries 1 and 2, or one SGL descriptor
//	    40   24 command dwords 10 to 15
type Command struct {
	Opcode       uint8
	Flags        uint8
	CID          uint16
	NSID         uint32
	CDW2, CDW3   uint32
	MPTR         uint64
	PRP1, PRP2   uint64
	CDW10, CDW11 uint32
	CDW12, CDW13 uint32
	CDW14, CDW15 uint32
}

// Bits of Command.Flags.
const (
	FuseFirst  = 1 << 0
	FuseSecond = 2 << 0
	FuseMask   = 3 << 0

	PSDTMask      = 3 << 6
	PSDTSGL       = 1 << 6 // DPTR is an SGL, MPTR the address of a contiguous buffer
	PSDTSGLAndMPT = 2 << 6 // both are SGLs
)

var _ = [1]struct{}{}[unsafe.Sizeof(Command{})-CommandSize]

// Put writes the command to the first 64 bytes of b. It is the driver's hot path: it panics on a shorter slice, which is
// a mistake in the calling program.
func (c *Command) Put(b []byte) {
	_ = b[CommandSize-1]
	le.PutUint64(b[0:], uint64(c.Opcode)|uint64(c.Flags)<<8|uint64(c.CID)<<16|uint64(c.NSID)<<32)
	le.PutUint64(b[8:], uint64(c.CDW2)|uint64(c.CDW3)<<32)
	le.PutUint64(b[16:], c.MPTR)
	le.PutUint64(b[24:], c.PRP1)
	le.PutUint64(b[32:], c.PRP2)
	le.PutUint64(b[40:], uint64(c.CDW10)|uint64(c.CDW11)<<32)
	le.PutUint64(b[48:], uint64(c.CDW12)|uint64(c.CDW13)<<32)
	le.PutUint64(b[56:], uint64(c.CDW14)|uint64(c.CDW15)<<32)
}

// Get reads the command from the first 64 bytes of b, and panics on a shorter slice.
func (c *Command) Get(b []byte) {
	_ = b[CommandSize-1]
	c.Opcode, c.Flags, c.CID, c.NSID = b[0], b[1], le.Uint16(b[2:]), le.Uint32(b[4:])
	c.CDW2, c.CDW3 = le.Uint32(b[8:]), le.Uint32(b[12:])
	c.MPTR, c.PRP1, c.PRP2 = le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:])
	c.CDW10, c.CDW11 = le.Uint32(b[40:]), le.Uint32(b[44:])
	c.CDW12, c.CDW13 = le.Uint32(b[48:]), le.Uint32(b[52:])
	c.CDW14, c.CDW15 = le.Uint32(b[56:]), le.Uint32(b[60:])
}

// SetLBA sets the starting LBA of commands that have one, in CDW10 and CDW11.
func (c *Command) SetLBA(lba uint64) { c.CDW10, c.CDW11 = uint32(lba), uint32(lba>>32) }

// LBA is the starting LBA of commands that have one.
func (c *Command) LBA() uint64 { return uint64(c.CDW10) | uint64(c.CDW11)<<32 }

// SetSGL makes the data pointer an SGL descriptor.
func (c *Command) SetSGL(d SGL) {
	c.Flags = c.Flags&^PSDTMask | PSDTSGL
	c.PRP1, c.PRP2 = d.Address, uint64(d.Length)|uint64(d.Type)<<56
}

// SGL is the data pointer as an SGL descriptor.
func (c *Command) SGL() SGL { return SGL{c.PRP1, uint32(c.PRP2), uint8(c.PRP2 >> 56)} }

// Completion is a completion queue entry (base 2.0, figure 90).
//
//	OFFSET SIZE FIELD
//	     0    8 command specific
//	     8    2 submission queue head pointer
//	    10    2 submission queue identifier
//	    12    2 command identifier
//	    14    2 phase tag in bit 0, status above it
type Completion struct {
	DW0, DW1 uint32
	SQHD     uint16
	SQID     uint16
	CID      uint16
	Status   Status
	Phase    bool
}

// Put writes the completion to the first 16 bytes of b, and panics on a shorter slice. It writes the phase tag with the
// rest: a controller whose memory is being polled stores the last word by itself, see Word3.
func (c *Completion) Put(b []byte) {
	_ = b[CompletionSize-1]
	le.PutUint32(b[0:], c.DW0)
	le.PutUint32(b[4:], c.DW1)
	le.PutUint32(b[8:], uint32(c.SQHD)|uint32(c.SQID)<<16)
	le.PutUint32(b[12:], c.Word3())
}

// Word3 is the last dword: command identifier, phase tag, status.
func (c *Completion) Word3() uint32 {
	w := uint32(c.CID) | uint32(c.Status)<<17
	if c.Phase {
		w |= 1 << 16
	}
	return w
}

// Get reads the completion from the first 16 bytes of b, and panics on a shorter slice.
func (c *Completion) Get(b []byte) {
	_ = b[CompletionSize-1]
	c.DW0, c.DW1 = le.Uint32(b[0:]), le.Uint32(b[4:])
	c.SQHD, c.SQID, c.CID = le.Uint16(b[8:]), le.Uint16(b[10:]), le.Uint16(b[12:])
	w := le.Uint16(b[14:])
	c.Status, c.Phase = Status(w>>1), w&1 != 0
}

// SGL is a scatter gather list descriptor (base 2.0, figure 96).
type SGL struct {
	Address uint64
	Length  uint32 // bytes
	Type    uint8  // SGLType* in bits 7:4, sub type in bits 3:0
}

// Types of SGL descriptors, sub type address.
const (
	SGLTypeData        = 0 << 4
	SGLTypeBitBucket   = 1 << 4
	SGLTypeSegment     = 2 << 4
	SGLTypeLastSegment = 3 << 4
)

// Put writes the descriptor to the first 16 bytes of b, and panics on a shorter slice.
func (d SGL) Put(b []byte) {
	_ = b[SGLSize-1]
	le.PutUint64(b[0:], d.Address)
	le.PutUint64(b[8:], uint64(d.Length)|uint64(d.Type)<<56)
}

// Get reads the descriptor from the first 16 bytes of b, and panics on a shorter slice.
func (d *SGL) Get(b []byte) {
	_ = b[SGLSize-1]
	d.Address, d.Length, d.Type = le.Uint64(b[0:]), le.Uint32(b[8:]), b[15]
}

// DSMRange is one range of dataset management (NVM 1.0, figure 44).
type DSMRange struct {
	Attributes uint32
	Blocks     uint32 // logical blocks, not zero-based
	LBA        uint64
}

// Put writes the range to the first 16 bytes of b, and panics on a shorter slice.
func (r DSMRange) Put(b []byte) {
	_ = b[DSMRangeSize-1]
	le.PutUint32(b[0:], r.Attributes)
	le.PutUint32(b[4:], r.Blocks)
	le.PutUint64(b[8:], r.LBA)
}

// Get reads the range from the first 16 bytes of b, and panics on a shorter slice.
func (r *DSMRange) Get(b []byte) {
	_ = b[DSMRangeSize-1]
	r.Attributes, r.Blocks, r.LBA = le.Uint32(b[0:]), le.Uint32(b[4:]), le.Uint64(b[8:])
}

// CopyRange is one source range of copy, descriptor format 0 (NVM 1.0, figure 35).
type CopyRange struct {
	LBA     uint64
	Blocks  uint32 // logical blocks, 1 to 65536; zero-based on the wire
	RefTag  uint32 // expected initial logical block reference tag
	AppTag  uint16
	AppMask uint16
}

// Put writes the range to the first 32 bytes of b, and panics on a shorter slice.
func (r CopyRange) Put(b []byte) {
	clear(b[:CopyRangeSize])
	le.PutUint64(b[8:], r.LBA)
	le.PutUint16(b[16:], uint16(r.Blocks-1))
	le.PutUint32(b[24:], r.RefTag)
	le.PutUint16(b[28:], r.AppTag)
	le.PutUint16(b[30:], r.AppMask)
}

// Get reads the range from the first 32 bytes of b, and panics on a shorter slice.
func (r *CopyRange) Get(b []byte) {
	_ = b[CopyRangeSize-1]
	r.LBA, r.Blocks, r.RefTag = le.Uint64(b[8:]), uint32(le.Uint16(b[16:]))+1, le.Uint32(b[24:])
	r.AppTag, r.AppMask = le.Uint16(b[28:]), le.Uint16(b[30:])
}
