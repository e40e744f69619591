package vfiouser

import "encoding/binary"

// configSpace is the PCI configuration space that a session shows: an NVMe controller with one BAR of registers, power
// management, PCI Express with function level reset, and MSI-X, whose table is BAR 4.
type configSpace struct {
	bytes [pciConfigSize]byte
	mask  [pciConfigSize]byte // the bits that the host can change
}

// Where the capabilities are.
const (
	capPower     = 0x40
	capExpress   = 0x48
	capExpressSz = 0x3c
	capMSIX      = 0x90

	expressDevCap     = capExpress + 4
	expressDevControl = capExpress + 8
	functionReset     = 1 << 15 // of the device control register; 1 << 28 of the capabilities says that it works
	nvmeClass         = 0x010802

	msixBAR      = 4
	msixTable    = 0 // offsets in BAR 4
	msixPending  = 4096
	msixBARSize  = 8192
	msixEntry    = 16
	msixMaskByte = 12 // vector control, bit 0: masked
)

func newConfigSpace(i Info, barSize uint64) *configSpace {
	c := &configSpace{}
	le := binary.LittleEndian
	b := c.bytes[:]
	le.PutUint16(b[pciVendor:], i.Vendor)
	le.PutUint16(b[pciDevice:], i.Device)
	le.PutUint16(b[pciSubVendor:], i.SubVendor)
	le.PutUint16(b[pciSubsystem:], i.SubDevice)
	le.PutUint16(b[pciStatus:], pciStatusCapList)
	b[pciRevision] = i.Revision
	b[pciClass], b[pciClass+1], b[pciClass+2] = nvmeClass&0xff, nvmeClass>>8&0xff, nvmeClass>>16
	c.allow(pciCommand, pciCommandMemory|pciCommandMaster|pciCommandNoINTx)
	c.allow(pciIRQPin-1, 0xff) // the interrupt line is the host's note

	b[pciBAR0] = 0b100 // memory, 64 bits
	le.PutUint64(c.mask[pciBAR0:], ^(barSize - 1))

	b[pciCapPointer] = capPower
	b[capPower], b[capPower+1] = pciCapPowerMgmt, capExpress
	le.PutUint16(b[capPower+2:], 3) // version of the power management interface
	c.allow(capPower+4, 0x3)        // power state

	b[capExpress], b[capExpress+1] = pciCapExpress, 0
	le.PutUint16(b[capExpress+2:], 2) // version 2, endpoint
	le.PutUint32(b[expressDevCap:], 1<<28|1<<15)
	c.allow(expressDevControl, 0x7fff) // the reset bit reads as 0

	if i.Vectors > 0 {
		b[capExpress+1] = capMSIX
		b[capMSIX] = pciCapMSIX
		le.PutUint16(b[capMSIX+pciMSIXControl:], uint16(i.Vectors-1))
		le.PutUint32(b[capMSIX+4:], msixTable|msixBAR)
		le.PutUint32(b[capMSIX+8:], msixPending|msixBAR)
		c.allow(capMSIX+pciMSIXControl, pciMSIXEnable|pciMSIXFunctionMask)
		le.PutUint32(c.mask[pciBAR0+4*msixBAR:], ^uint32(msixBARSize-1))
	}
	return c
}

// allow lets the host change bits of a 16-bit register.
func (c *configSpace) allow(at int, bits uint16) {
	m := c.mask[at:]
	binary.LittleEndian.PutUint16(m, binary.LittleEndian.Uint16(m)|bits)
}

// write stores what the host may change and says whether it asked for a function level reset. The range is within the space.
func (c *configSpace) write(offset int, p []byte) (reset bool) {
	for i, v := range p {
		m := c.mask[offset+i]
		c.bytes[offset+i] = c.bytes[offset+i]&^m | v&m
		if offset+i == expressDevControl+1 && v&(functionReset>>8) != 0 {
			reset = true
		}
	}
	return reset
}
