package vfiouser

import (
	"encoding/binary"
	"fmt"

	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// PCI configuration space (PCI 3.0, chapter 6; MSI-X: section 6.8.2).
const (
	pciVendor     = 0x00
	pciDevice     = 0x02
	pciCommand    = 0x04
	pciStatus     = 0x06
	pciRevision   = 0x08
	pciClass      = 0x09 // three bytes: interface, subclass, class
	pciBAR0       = 0x10
	pciSubVendor  = 0x2c
	pciSubsystem  = 0x2e
	pciCapPointer = 0x34
	pciIRQPin     = 0x3d
	pciHeaderSize = 0x40
	pciConfigSize = 256

	pciCommandMemory    = 1 << 1
	pciCommandMaster    = 1 << 2
	pciCommandNoINTx    = 1 << 10
	pciStatusCapList    = 1 << 4
	pciCapPowerMgmt     = 0x01
	pciCapExpress       = 0x10
	pciCapMSIX          = 0x11
	pciMSIXControl      = 2 // offset in the capability
	pciMSIXTableSize    = 0x7ff
	pciMSIXFunctionMask = 1 << 14
	pciMSIXEnable       = 1 << 15
)

// enable lets the controller answer and read and write memory.
func (c *Client) enable() error {
	var b [2]byte
	if err := c.read(wire.RegionConfig, pciCommand, b[:]); err != nil {
		return err
	}
	command := binary.LittleEndian.Uint16(b[:]) | pciCommandMemory | pciCommandMaster | pciCommandNoINTx
	binary.LittleEndian.PutUint16(b[:], command)
	return c.write(wire.RegionConfig, pciCommand, b[:])
}

// enableMSIX turns MSI-X on, which a device needs to be told besides where its interrupts go.
func (c *Client) enableMSIX() error {
	at, err := c.findCapability(pciCapMSIX)
	if err != nil || at == 0 {
		return err // a server without the capability goes by the eventfds alone
	}
	var b [2]byte
	if err := c.read(wire.RegionConfig, at+pciMSIXControl, b[:]); err != nil {
		return err
	}
	control := binary.LittleEndian.Uint16(b[:])&^pciMSIXFunctionMask | pciMSIXEnable
	binary.LittleEndian.PutUint16(b[:], control)
	return c.write(wire.RegionConfig, at+pciMSIXControl, b[:])
}

// findCapability returns the offset of a capability, 0 if there is none. A list cannot have more members than fit.
func (c *Client) findCapability(id byte) (uint64, error) {
	var b [2]byte
	if err := c.read(wire.RegionConfig, pciCapPointer, b[:1]); err != nil {
		return 0, err
	}
	at := b[0] &^ 3
	for range pciConfigSize / 4 {
		if at < pciHeaderSize {
			return 0, nil
		}
		if err := c.read(wire.RegionConfig, uint64(at), b[:]); err != nil {
			return 0, err
		}
		if b[0] == id {
			return uint64(at), nil
		}
		at = b[1] &^ 3
	}
	return 0, c.link.violation(fmt.Errorf("%w: the list of PCI capabilities does not end", wire.ErrFormat))
}
