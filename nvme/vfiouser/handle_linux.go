package vfiouser

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// dispatch carries one command out. What it appends to r is the answer's payload; an error is the answer instead.
func (ss *session) dispatch(m *message, r *reply) error {
	switch m.Command {
	case wire.CmdVersion:
		return ss.version(m.payload, r)
	case wire.CmdDMAMap:
		return ss.dmaMap(m)
	case wire.CmdDMAUnmap:
		return ss.dmaUnmap(m.payload, r)
	case wire.CmdDeviceInfo:
		return ss.deviceInfo(m.payload, r)
	case wire.CmdRegionInfo:
		return ss.regionInfo(m.payload, r)
	case wire.CmdRegionIOFDs:
		return ss.regionIOFDs(m.payload, r)
	case wire.CmdIRQInfo:
		return ss.irqInfo(m.payload, r)
	case wire.CmdSetIRQs:
		return ss.setIRQs(m)
	case wire.CmdRegionRead:
		return ss.regionRead(m.payload, r)
	case wire.CmdRegionWrite:
		return ss.regionWrite(m.payload, r)
	case wire.CmdReset:
		return ss.reset()
	default:
		return unix.ENOTSUP
	}
}

// version agrees on the protocol. A client of another major version is told so, and the session ends.
func (ss *session) version(payload []byte, r *reply) error {
	v, err := wire.ParseVersion(payload)
	switch {
	case err != nil:
		return &fatalError{err}
	case ss.negotiated:
		return &fatalError{fmt.Errorf("%w: a second version", ErrProtocol)}
	case v.Major != wire.Major:
		return &fatalError{fmt.Errorf("the client speaks version %d.%d of the protocol, this is %d.%d: %w", v.Major, v.Minor, wire.Major, wire.Minor, unix.EPROTONOSUPPORT)}
	case v.Capabilities.PageSizes&pageSize == 0:
		return &fatalError{fmt.Errorf("the client has no pages of %d bytes: %w", pageSize, unix.ENOTSUP)}
	}
	ss.negotiated, ss.peer = true, v.Capabilities
	ours := wire.Version{Major: wire.Major, Minor: min(v.Minor, wire.Minor), Capabilities: wire.Capabilities{
		MaxFDs: wire.MaxFDs, MaxTransfer: wire.MaxTransfer, MaxMaps: maxMaps, PageSizes: pageSize}}
	r.b = ours.Append(r.b)
	return nil
}

func (ss *session) dmaMap(m *message) error {
	d, err := wire.ParseDMAMap(m.payload)
	if err != nil {
		return err
	}
	fd := m.take()
	err = ss.memory.add(d, fd)
	if fd >= 0 {
		_ = unix.Close(fd) // the map keeps the memory
	}
	return err
}

// dmaUnmap unmaps once nothing is under way.
func (ss *session) dmaUnmap(payload []byte, r *reply) error {
	u, err := wire.ParseDMAUnmap(payload)
	if err != nil {
		return err
	}
	if err := ss.ctrl.Drain(); err != nil {
		return err
	}
	if u.Flags == wire.UnmapAll {
		err = ss.memory.removeAll()
	} else {
		err = ss.memory.remove(u.Address, u.Size)
	}
	r.b = u.Append(r.b)
	return err
}

func (ss *session) deviceInfo(payload []byte, r *reply) error {
	if _, err := wire.ParseDeviceInfo(payload); err != nil {
		return err
	}
	r.b = (&wire.DeviceInfo{Flags: wire.DevicePCI | wire.DeviceReset, Regions: wire.NumRegions, IRQs: wire.NumIRQs}).Append(r.b)
	return nil
}

// regionInfo describes a region; doorbells of BAR 0 can be mapped.
func (ss *session) regionInfo(payload []byte, r *reply) error {
	index, room, err := wire.ParseRegionInfoRequest(payload)
	if err != nil {
		return err
	}
	if index >= wire.NumRegions {
		return fmt.Errorf("region %d: %w", index, unix.EINVAL)
	}
	info := wire.RegionInfo{Index: index, Size: ss.regionSize(index)}
	if info.Size > 0 {
		info.Flags = wire.RegionRead | wire.RegionWrite
	}
	if index == wire.RegionBAR0 {
		info.Flags |= wire.RegionMmap
		info.Areas = []wire.Area{{Offset: barRegisters, Size: uint64(len(ss.doorbells))}}
	}
	before := len(r.b)
	r.b = info.Append(r.b, room)
	if index == wire.RegionBAR0 && binary.LittleEndian.Uint32(r.b[before+4:])&wire.RegionCaps != 0 {
		r.fds = []int{ss.barFD}
	}
	return nil
}

func (ss *session) regionSize(index uint32) uint64 {
	switch {
	case index == wire.RegionBAR0:
		return ss.barSize()
	case index == wire.RegionConfig:
		return pciConfigSize
	case index == msixBAR && len(ss.vectors) > 0:
		return msixBARSize
	default:
		return 0
	}
}

func (ss *session) regionIOFDs(payload []byte, r *reply) error {
	index, err := wire.ParseIOFDsRequest(payload)
	if err != nil {
		return err
	}
	if index >= wire.NumRegions {
		return fmt.Errorf("region %d: %w", index, unix.EINVAL)
	}
	r.b = wire.AppendNoIOFDs(r.b, index)
	return nil
}

func (ss *session) regionRead(payload []byte, r *reply) error {
	a, err := ss.parseAccess(payload, false)
	if err != nil {
		return err
	}
	n := len(r.b) + 16
	r.b = append(a.Append(r.b), make([]byte, a.Count)...)
	return ss.access(a.Region, a.Offset, r.b[n:], false)
}

func (ss *session) regionWrite(payload []byte, r *reply) error {
	a, err := ss.parseAccess(payload, true)
	if err != nil {
		return err
	}
	data := slices.Clone(a.Data) // the controller may ask the client for memory meanwhile
	a.Data = nil
	r.b = a.Append(r.b)
	return ss.access(a.Region, a.Offset, data, true)
}

func (ss *session) parseAccess(payload []byte, withData bool) (wire.RegionAccess, error) {
	a, err := wire.ParseRegionAccess(payload, withData)
	if err != nil {
		return a, err
	}
	if size := ss.regionSize(min(a.Region, wire.NumRegions)); uint64(a.Count) > size || a.Offset > size-uint64(a.Count) {
		return a, fmt.Errorf("%d bytes at %#x of region %d, which has %d: %w", a.Count, a.Offset, a.Region, size, unix.EINVAL)
	}
	return a, nil
}

// access reads or writes within a region.
func (ss *session) access(region uint32, offset uint64, p []byte, write bool) error {
	switch {
	case region == wire.RegionBAR0:
		return ss.accessBAR(uint32(offset), p, write)
	case region == msixBAR && write:
		copy(ss.msix[offset:], p)
	case region == msixBAR:
		copy(p, ss.msix[offset:])
	case !write:
		copy(p, ss.config.bytes[offset:])
	case ss.config.write(int(offset), p):
		return ss.reset()
	}
	return nil
}

// accessBAR reads or writes registers and doorbells, whole dwords.
func (ss *session) accessBAR(offset uint32, p []byte, write bool) error {
	if offset%4 != 0 || len(p)%4 != 0 {
		return fmt.Errorf("%d bytes at %#x of the registers: %w", len(p), offset, unix.EINVAL)
	}
	for len(p) > 0 {
		n := 4
		if len(p) >= 8 && offset%8 == 0 && offset < barRegisters {
			n = 8
		}
		if err := ss.accessRegister(offset, p[:n], write); err != nil {
			return err
		}
		offset, p = offset+uint32(n), p[n:]
	}
	return nil
}

func (ss *session) accessRegister(offset uint32, p []byte, write bool) error {
	if offset >= barRegisters {
		ss.accessDoorbell(int(offset-barRegisters), p, write)
		return nil
	}
	if write {
		var b [8]byte
		copy(b[:], p)
		return ss.ctrl.Store(offset, len(p), binary.LittleEndian.Uint64(b[:]))
	}
	v, err := ss.ctrl.Load(offset, len(p))
	b := binary.LittleEndian.AppendUint64(nil, v)
	copy(p, b)
	return err
}

// accessDoorbell accesses 4 bytes of the doorbells. Past their end there is nothing.
func (ss *session) accessDoorbell(at int, p []byte, write bool) {
	if at+4 > len(ss.doorbells) {
		return
	}
	word := (*uint32)(unsafe.Pointer(&ss.doorbells[at]))
	if write {
		atomic.StoreUint32(word, binary.LittleEndian.Uint32(p))
	} else {
		binary.LittleEndian.PutUint32(p, atomic.LoadUint32(word))
	}
}

// reset is that of the function: registers, configuration space and doorbells start anew. Maps of memory and eventfds stay.
func (ss *session) reset() error {
	err := ss.ctrl.Reset()
	for at := 0; at < len(ss.doorbells); at += 4 {
		atomic.StoreUint32((*uint32)(unsafe.Pointer(&ss.doorbells[at])), 0)
	}
	ss.initConfig()
	return err
}
