package vfio

import (
	"fmt"
)

// Offsets and bits of the configuration space (PCI local bus 3.0, sections 6.2 and 6.8.2).
const (
	pciCommand      = 0x04
	pciStatus       = 0x06
	pciCapabilities = 0x34
	pciHeaderBytes  = 0x40
	pciConfigBytes  = 0x100

	commandMemory    = 1 << 1
	commandBusMaster = 1 << 2
	commandNoINTx    = 1 << 10
	statusHasCaps    = 1 << 4

	capabilityMSIX  = 0x11
	msixMaskCount   = 0x7ff
	msixMaskBAR     = 0x7
	removedVendorID = 0xffff
)

// configSpace is a device's configuration space. The kernel shows a virtual one where that is safer.
type configSpace struct {
	kernel kernel
	fd     int
	region region
}

func (c configSpace) read(offset, size int) ([]byte, error) {
	b := make([]byte, size)
	if err := c.kernel.pread(c.fd, b, int64(c.region.offset)+int64(offset)); err != nil {
		return nil, fmt.Errorf("reading PCI configuration at %#x: %w: %w", offset, ErrKernel, err)
	}
	return b, nil
}

// command changes bits of the command register.
func (c configSpace) command(set, clear uint16) error {
	b, err := c.read(pciCommand, 2)
	if err != nil {
		return err
	}
	now := little.Uint16(b)
	if now|set == now && now&clear == 0 {
		return nil
	}
	if err := c.kernel.pwrite(c.fd, little.AppendUint16(nil, now&^clear|set), int64(c.region.offset)+pciCommand); err != nil {
		return fmt.Errorf("writing the PCI command register: %w: %w", ErrKernel, err)
	}
	return nil
}

// enable lets the device answer and reach memory, without pin interrupts, which nobody takes here.
func (c configSpace) enable() error {
	return c.command(commandMemory|commandBusMaster|commandNoINTx, 0)
}

// disable takes the device's way to memory.
func (c configSpace) disable() error { return c.command(0, commandBusMaster) }

// msix finds the MSI-X table and its pending bits.
func (c configSpace) msix() (msix, error) {
	b, err := c.read(0, pciConfigBytes)
	if err != nil {
		return msix{}, err
	}
	return findMSIX(b)
}

// findMSIX walks the capabilities of a configuration space: each has an id (8 bits) and the offset of the next (8 bits).
func findMSIX(b []byte) (msix, error) {
	if len(b) < pciConfigBytes {
		return msix{}, fmt.Errorf("%d bytes of PCI configuration: %w", len(b), ErrBadReply)
	}
	if little.Uint16(b) == removedVendorID || little.Uint16(b[pciStatus:])&statusHasCaps == 0 {
		return msix{}, nil
	}
	at := int(b[pciCapabilities]) &^ 3
	for steps := 0; at != 0; steps++ {
		if steps > pciConfigBytes/4 || at < pciHeaderBytes || at+12 > pciConfigBytes {
			return msix{}, fmt.Errorf("PCI capability at %#x: %w", at, ErrBadReply)
		}
		if b[at] == capabilityMSIX {
			return decodeMSIX(b[at:]), nil
		}
		at = int(b[at+1]) &^ 3
	}
	return msix{}, nil
}
