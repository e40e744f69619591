package spec

import "fmt"

// ZonedNamespace is what identify says of a namespace for the zoned command set (ZNS 1.1, figure 48).
type ZonedNamespace struct {
	ZOC, OZCS uint16
	MAR, MOR  uint32 // active and open zones, zero-based; all ones is no limit
	RRL, FRL  uint32 // seconds
	LBAFE     [64]ZonedFormat
}

// ZonedFormat extends an LBA format.
type ZonedFormat struct {
	ZSZE uint64 // zone size, logical blocks
	ZDES uint8  // zone descriptor extension, 64-byte units
}

func (i *ZonedNamespace) layout(c *codec) {
	c.u16(0, &i.ZOC)
	c.u16(2, &i.OZCS)
	c.u32(4, &i.MAR)
	c.u32(8, &i.MOR)
	c.u32(12, &i.RRL)
	c.u32(16, &i.FRL)
	for n := range i.LBAFE {
		c.u64(2816+16*n, &i.LBAFE[n].ZSZE)
		c.u8(2816+16*n+8, &i.LBAFE[n].ZDES)
	}
}

// Unmarshal reads the structure from the first 4096 bytes of b.
func (i *ZonedNamespace) Unmarshal(b []byte) error { return unmarshal(b, IdentifySize, i.layout) }

// Marshal writes the structure to the first 4096 bytes of b.
func (i *ZonedNamespace) Marshal(b []byte) error { return marshal(b, IdentifySize, i.layout) }

// ZonedController is what identify says of a controller for the zoned command set (ZNS 1.1, figure 50).
type ZonedController struct {
	ZASL uint8 // largest zone append, log2 of pages of 4096 << CAP.MPSMIN bytes; 0 is MDTS
}

func (i *ZonedController) layout(c *codec) { c.u8(0, &i.ZASL) }

// Unmarshal reads the structure from the first 4096 bytes of b.
func (i *ZonedController) Unmarshal(b []byte) error { return unmarshal(b, IdentifySize, i.layout) }

// Marshal writes the structure to the first 4096 bytes of b.
func (i *ZonedController) Marshal(b []byte) error { return marshal(b, IdentifySize, i.layout) }

// Zone send actions (ZNS 1.1, figure 37); ZoneSelectAll is bit 8 of CDW13.
const (
	ZoneClose     = 0x01
	ZoneFinish    = 0x02
	ZoneOpen      = 0x03
	ZoneReset     = 0x04
	ZoneOffline   = 0x05
	ZoneSelectAll = 1 << 8
)

// Zone receive actions (ZNS 1.1, figure 31); ZonePartial is bit 16 of CDW13: the header counts only the zones returned.
const (
	ZoneReport         = 0x00
	ZoneReportExtended = 0x01
	ZonePartial        = 1 << 16
)

// ZoneState is the state of a zone.
type ZoneState uint8

// The zone states.
const (
	ZoneEmpty          ZoneState = 0x1
	ZoneImplicitlyOpen ZoneState = 0x2
	ZoneExplicitlyOpen ZoneState = 0x3
	ZoneClosed         ZoneState = 0x4
	ZoneReadOnly       ZoneState = 0xD
	ZoneFull           ZoneState = 0xE
	ZoneIsOffline      ZoneState = 0xF
)

var zoneStateNames = map[ZoneState]string{
	ZoneEmpty: "empty", ZoneImplicitlyOpen: "implicitly open", ZoneExplicitlyOpen: "explicitly open",
	ZoneClosed: "closed", ZoneReadOnly: "read only", ZoneFull: "full", ZoneIsOffline: "offline",
}

// String is the state in words.
func (s ZoneState) String() string {
	if n, ok := zoneStateNames[s]; ok {
		return n
	}
	return fmt.Sprintf("zone state %#x", uint8(s))
}

// Sizes of a zone report, in bytes.
const (
	ZoneHeaderSize     = 64
	ZoneDescriptorSize = 64
	ZoneTypeSequential = 2 // sequential write required
)

// Zone is a zone descriptor (ZNS 1.1, figure 36).
type Zone struct {
	Type         uint8
	State        ZoneState
	Attributes   uint8
	Capacity     uint64 // logical blocks that can be written
	Start        uint64 // LBA
	WritePointer uint64 // LBA
}

func (z *Zone) layout(c *codec) {
	state := uint8(z.State) << 4
	c.u8(0, &z.Type)
	c.u8(1, &state)
	c.u8(2, &z.Attributes)
	c.u64(8, &z.Capacity)
	c.u64(16, &z.Start)
	c.u64(24, &z.WritePointer)
	z.Type &= 15
	z.State = ZoneState(state >> 4)
}

// Unmarshal reads the descriptor from the first 64 bytes of b.
func (z *Zone) Unmarshal(b []byte) error { return unmarshal(b, ZoneDescriptorSize, z.layout) }

// Marshal writes the descriptor to the first 64 bytes of b.
func (z *Zone) Marshal(b []byte) error { return marshal(b, ZoneDescriptorSize, z.layout) }

// ZoneReportCount reads how many zones a report counts.
func ZoneReportCount(b []byte) (uint64, error) {
	if len(b) < ZoneHeaderSize {
		return 0, fmt.Errorf("%d bytes, want %d: %w", len(b), ZoneHeaderSize, ErrShort)
	}
	return le.Uint64(b), nil
}

// PutZoneReportCount writes the header of a report.
func PutZoneReportCount(b []byte, n uint64) error {
	if len(b) < ZoneHeaderSize {
		return fmt.Errorf("%d bytes, want %d: %w", len(b), ZoneHeaderSize, ErrShort)
	}
	clear(b[:ZoneHeaderSize])
	le.PutUint64(b, n)
	return nil
}
