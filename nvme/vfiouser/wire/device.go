package wire

import (
	"encoding/binary"
	"fmt"
)

// Flags of a DeviceInfo (VFIO_DEVICE_FLAGS_*).
const (
	DeviceReset uint32 = 1 << 0 // CmdReset works
	DevicePCI   uint32 = 1 << 1
)

// Kinds of interrupt of a PCI device (VFIO_PCI_*_IRQ_INDEX).
const (
	IRQINTx = 0
	IRQMSI  = 1
	IRQMSIX = 2
	NumIRQs = 5
)

// IRQEventfd of an IRQInfo: interrupts of this kind can signal an eventfd (VFIO_IRQ_INFO_EVENTFD).
const IRQEventfd uint32 = 1 << 0

// Flags of an IRQSet (VFIO_IRQ_SET_*): one of the first three with one of the others.
const (
	IRQDataNone    uint32 = 1 << 0
	IRQDataBool    uint32 = 1 << 1
	IRQDataEventfd uint32 = 1 << 2
	IRQMask        uint32 = 1 << 3
	IRQUnmask      uint32 = 1 << 4
	IRQTrigger     uint32 = 1 << 5

	irqDataMask   = IRQDataNone | IRQDataBool | IRQDataEventfd
	irqActionMask = IRQMask | IRQUnmask | IRQTrigger
)

const (
	deviceInfoSize = 16
	irqInfoSize    = 16
	irqSetSize     = 20

	// maxVectors bounds what a peer may claim: MSI-X has at most so many (PCI 3.0, section 6.8.2).
	maxVectors = 2048
	maxRegions = 256
)

// DeviceInfo describes the device. The payload of the command has the same form, all zero but argsz.
//
//	OFFSET SIZE FIELD
//	0      4    argsz
//	4      4    Flags
//	8      4    Regions, how many
//	12     4    IRQs, how many kinds of interrupt
type DeviceInfo struct{ Flags, Regions, IRQs uint32 }

// Append encodes the payload of command and reply.
func (d *DeviceInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, deviceInfoSize)
	b = binary.LittleEndian.AppendUint32(b, d.Flags)
	b = binary.LittleEndian.AppendUint32(b, d.Regions)
	return binary.LittleEndian.AppendUint32(b, d.IRQs)
}

// ParseDeviceInfo decodes the payload of command and reply.
func ParseDeviceInfo(b []byte) (DeviceInfo, error) {
	if err := checkArgSize("device info", b, deviceInfoSize); err != nil {
		return DeviceInfo{}, err
	}
	d := DeviceInfo{binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])}
	if d.Regions > maxRegions || d.IRQs > maxRegions {
		return DeviceInfo{}, fmt.Errorf("%w: device with %d regions and %d kinds of interrupt", ErrFormat, d.Regions, d.IRQs)
	}
	return d, nil
}

// IRQInfo describes one kind of interrupt. The payload of the command has the same form, with Index set.
//
//	OFFSET SIZE FIELD
//	0      4    argsz
//	4      4    Flags
//	8      4    Index
//	12     4    Count of vectors
type IRQInfo struct{ Flags, Index, Count uint32 }

// Append encodes the payload of command and reply.
func (i *IRQInfo) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, irqInfoSize)
	b = binary.LittleEndian.AppendUint32(b, i.Flags)
	b = binary.LittleEndian.AppendUint32(b, i.Index)
	return binary.LittleEndian.AppendUint32(b, i.Count)
}

// ParseIRQInfo decodes the payload of command and reply.
func ParseIRQInfo(b []byte) (IRQInfo, error) {
	if err := checkArgSize("interrupt info", b, irqInfoSize); err != nil {
		return IRQInfo{}, err
	}
	i := IRQInfo{binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])}
	if i.Count > maxVectors {
		return IRQInfo{}, fmt.Errorf("%w: %d interrupt vectors, at most %d", ErrFormat, i.Count, maxVectors)
	}
	return i, nil
}

// IRQSet connects interrupts to eventfds, triggers or masks them (struct vfio_irq_set).
//
//	OFFSET SIZE FIELD
//	0      4    argsz
//	4      4    Flags
//	8      4    Index, the kind of interrupt
//	12     4    Start, the first vector
//	16     4    Count of vectors
//	20     ...  Bools with IRQDataBool, one byte per vector
type IRQSet struct {
	Flags, Index, Start, Count uint32
	Bools                      []byte
}

// Data is the one flag that says what comes with the message.
func (s *IRQSet) Data() uint32 { return s.Flags & irqDataMask }

// Action is the one flag that says what to do.
func (s *IRQSet) Action() uint32 { return s.Flags & irqActionMask }

// Append encodes the payload.
func (s *IRQSet) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(irqSetSize+len(s.Bools)))
	b = binary.LittleEndian.AppendUint32(b, s.Flags)
	b = binary.LittleEndian.AppendUint32(b, s.Index)
	b = binary.LittleEndian.AppendUint32(b, s.Start)
	b = binary.LittleEndian.AppendUint32(b, s.Count)
	return append(b, s.Bools...)
}

// ParseIRQSet decodes the payload. It has one data and one action flag, and as many booleans as they ask for.
func ParseIRQSet(b []byte) (IRQSet, error) {
	if err := checkArgSize("set interrupts", b, irqSetSize); err != nil {
		return IRQSet{}, err
	}
	s := IRQSet{
		Flags: binary.LittleEndian.Uint32(b[4:]),
		Index: binary.LittleEndian.Uint32(b[8:]),
		Start: binary.LittleEndian.Uint32(b[12:]),
		Count: binary.LittleEndian.Uint32(b[16:]),
	}
	switch {
	case !oneBit(s.Data()) || !oneBit(s.Action()) || s.Flags&^(irqDataMask|irqActionMask) != 0:
		return IRQSet{}, fmt.Errorf("%w: set interrupts with flags %#x", ErrFormat, s.Flags)
	case s.Start > maxVectors || s.Count > maxVectors:
		return IRQSet{}, fmt.Errorf("%w: set interrupts %d from %d, at most %d", ErrFormat, s.Count, s.Start, maxVectors)
	case s.Count == 0 && (s.Start != 0 || s.Data() != IRQDataNone || s.Action() != IRQTrigger):
		return IRQSet{}, fmt.Errorf("%w: set no interrupts with flags %#x", ErrFormat, s.Flags)
	case s.Data() == IRQDataBool && len(b)-irqSetSize != int(s.Count):
		return IRQSet{}, fmt.Errorf("%w: set %d interrupts with %d booleans", ErrFormat, s.Count, len(b)-irqSetSize)
	}
	if s.Data() == IRQDataBool {
		s.Bools = b[irqSetSize:]
	}
	return s, nil
}

func oneBit(v uint32) bool { return v != 0 && v&(v-1) == 0 }
