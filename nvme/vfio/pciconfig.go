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
	msixEntryBytes  = 16
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

// msixTables finds where the MSI-X table and its pending bits lie in BAR 0.
func (c configSpace) msixTables() ([]area, error) {
	b, err := c.read(0, pciConfigBytes)
	if err != nil {
		return nil, err
	}
	return decodeMSIX(b)
}

// decodeMSIX walks the capabilities of a configuration space: each has an id (8 bits) and the offset of the next (8 bits);
// that of MSI-X goes on with message control (16 bits), then the offset and BAR of the table and of the pending bits.
func decodeMSIX(b []byte) ([]area, error) {
	if len(b) < pciConfigBytes {
		return nil, fmt.Errorf("%d bytes of PCI configuration: %w", len(b), ErrBadReply)
	}
	if little.Uint16(b) == removedVendorID || little.Uint16(b[pciStatus:])&statusHasCaps == 0 {
		return nil, nil
	}
	at := int(b[pciCapabilities]) &^ 3
	for steps := 0; at != 0; steps++ {
		if steps > pciConfigBytes/4 || at < pciHeaderBytes || at+12 > pciConfigBytes {
			return nil, fmt.Errorf("PCI capability at %#x: %w", at, ErrBadReply)
		}
		if b[at] == capabilityMSIX {
			return msixAreas(b[at:]), nil
		}
		at = int(b[at+1]) &^ 3
	}
	return nil, nil
}

// msixAreas are the table and the pending bits, as far as they lie in BAR 0.
func msixAreas(b []byte) (areas []area) {
	entries := uint64(little.Uint16(b[2:])&msixMaskCount) + 1
	table, pending := little.Uint32(b[4:]), little.Uint32(b[8:])
	if table&msixMaskBAR == barRegion {
		areas = append(areas, area{uint64(table &^ msixMaskBAR), entries * msixEntryBytes})
	}
	if pending&msixMaskBAR == barRegion {
		areas = append(areas, area{uint64(pending &^ msixMaskBAR), (entries + 63) / 64 * 8})
	}
	return areas
}
