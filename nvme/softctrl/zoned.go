package softctrl

import (
	"github.com/blobkv/blobkv/nvme/spec"
)

// zone is a zone: sequential write required, capacity is the whole zone.
type zone struct {
	state   spec.ZoneState
	pointer uint64 // the next LBA to write
}

func (z *zone) open() bool {
	return z.state == spec.ZoneImplicitlyOpen || z.state == spec.ZoneExplicitlyOpen
}

// zoned carries out what is different in a zoned namespace; done is false for commands that are not.
func (c *Controller) zoned(sq *subQueue, s *space, cmd *spec.Command) (st spec.Status, result uint64, done bool) {
	switch cmd.Opcode {
	case spec.CmdWrite, spec.CmdWriteZeroes, spec.CmdZoneAppend:
		st, result = c.zoneWrite(sq, s, cmd)
	case spec.CmdZoneSend:
		st = c.zoneSend(s, cmd)
	case spec.CmdZoneReceive:
		st = c.zoneReport(sq, s, cmd)
	case spec.CmdDSM, spec.CmdCopy:
		st = spec.StatusInvalidOpcode
	default:
		return 0, 0, false
	}
	return st, result, true
}

// zoneWrite writes at the write pointer of a zone.
func (c *Controller) zoneWrite(sq *subQueue, s *space, cmd *spec.Command) (spec.Status, uint64) {
	n, st := s.span(cmd)
	if !st.OK() {
		return st, 0
	}
	s.zoning.Lock()
	defer s.zoning.Unlock()
	i := cmd.LBA() / s.cfg.ZoneBlocks
	z, end := &s.zones[i], (i+1)*s.cfg.ZoneBlocks
	to := *cmd
	if cmd.Opcode == spec.CmdZoneAppend {
		if cmd.LBA() != i*s.cfg.ZoneBlocks {
			return spec.StatusInvalidField, 0
		}
		to.Opcode = spec.CmdWrite
		to.SetLBA(z.pointer)
	}
	switch {
	case z.state == spec.ZoneFull:
		return spec.StatusZoneFull, 0
	case z.state == spec.ZoneReadOnly:
		return spec.StatusZoneReadOnly, 0
	case z.state == spec.ZoneIsOffline:
		return spec.StatusZoneOffline, 0
	case to.LBA() != z.pointer:
		return spec.StatusZoneInvalidWrite, 0
	case n > end-z.pointer:
		return spec.StatusZoneBoundary, 0
	}
	if st := s.openZone(z, spec.ZoneImplicitlyOpen); !st.OK() {
		return st, 0
	}
	if st := c.plain(sq, s, &to, false); !st.OK() {
		return st, 0
	}
	at := z.pointer
	if z.pointer += n; z.pointer == end {
		z.state = spec.ZoneFull
	}
	return spec.StatusSuccess, at
}

// openZone opens a zone; too many explicitly open ones are an error, implicitly open ones are closed for it.
func (s *space) openZone(z *zone, state spec.ZoneState) spec.Status {
	if z.open() || s.cfg.MaxOpen == 0 {
		if z.state != spec.ZoneExplicitlyOpen {
			z.state = state
		}
		return spec.StatusSuccess
	}
	n := uint32(0)
	var victim *zone
	for i := range s.zones {
		if o := &s.zones[i]; o.open() {
			n++
			if o.state == spec.ZoneImplicitlyOpen {
				victim = o
			}
		}
	}
	if n >= s.cfg.MaxOpen {
		if victim == nil {
			return spec.StatusZoneTooManyOpen
		}
		victim.state = spec.ZoneClosed
	}
	z.state = state
	return spec.StatusSuccess
}

// zoneSend is zone management send.
func (c *Controller) zoneSend(s *space, cmd *spec.Command) spec.Status {
	if cmd.LBA() >= s.blocks {
		return spec.StatusLBAOutOfRange
	}
	s.zoning.Lock()
	defer s.zoning.Unlock()
	action := cmd.CDW13 & 0xFF
	if cmd.CDW13&spec.ZoneSelectAll == 0 {
		if cmd.LBA()%s.cfg.ZoneBlocks != 0 {
			return spec.StatusInvalidField
		}
		return s.act(int(cmd.LBA()/s.cfg.ZoneBlocks), action)
	}
	for i := range s.zones {
		if s.zones[i].state == spec.ZoneEmpty && action != spec.ZoneReset {
			continue
		}
		if st := s.act(i, action); !st.OK() && st != spec.StatusZoneInvalidTransition {
			return st
		}
	}
	return spec.StatusSuccess
}

// act changes the state of one zone.
func (s *space) act(i int, action uint32) spec.Status {
	z, start := &s.zones[i], uint64(i)*s.cfg.ZoneBlocks
	if z.state == spec.ZoneIsOffline || z.state == spec.ZoneReadOnly && action != spec.ZoneOffline {
		return spec.StatusZoneInvalidTransition
	}
	switch action {
	case spec.ZoneClose:
		if !z.open() && z.state != spec.ZoneClosed {
			return spec.StatusZoneInvalidTransition
		}
		z.state = spec.ZoneClosed
	case spec.ZoneFinish:
		z.state, z.pointer = spec.ZoneFull, start+s.cfg.ZoneBlocks
	case spec.ZoneOpen:
		if z.state == spec.ZoneFull {
			return spec.StatusZoneInvalidTransition
		}
		return s.openZone(z, spec.ZoneExplicitlyOpen)
	case spec.ZoneReset:
		if st := s.zero(start, s.cfg.ZoneBlocks); !st.OK() {
			return st
		}
		*z = zone{state: spec.ZoneEmpty, pointer: start}
	case spec.ZoneOffline:
		if z.state != spec.ZoneReadOnly {
			return spec.StatusZoneInvalidTransition
		}
		z.state = spec.ZoneIsOffline
	default:
		return spec.StatusInvalidField
	}
	return spec.StatusSuccess
}

// zoneReport is zone management receive.
func (c *Controller) zoneReport(sq *subQueue, s *space, cmd *spec.Command) spec.Status {
	n := (int(cmd.CDW12) + 1) * 4
	if cmd.CDW13&0xFF != spec.ZoneReport {
		return spec.StatusInvalidField
	}
	if cmd.LBA() >= s.blocks {
		return spec.StatusLBAOutOfRange
	}
	if n < spec.ZoneHeaderSize || n > pageSize<<5 {
		return spec.StatusInvalidField
	}
	s.zoning.Lock()
	defer s.zoning.Unlock()
	page := make([]byte, n)
	first := int(cmd.LBA() / s.cfg.ZoneBlocks)
	count, fits := len(s.zones)-first, (n-spec.ZoneHeaderSize)/spec.ZoneDescriptorSize
	for i := range min(count, fits) {
		z := s.zones[first+i]
		d := spec.Zone{Type: spec.ZoneTypeSequential, State: z.state, Capacity: s.cfg.ZoneBlocks,
			Start: uint64(first+i) * s.cfg.ZoneBlocks, WritePointer: z.pointer}
		if d.Marshal(page[spec.ZoneHeaderSize+i*spec.ZoneDescriptorSize:]) != nil {
			return spec.StatusInternalError
		}
	}
	if cmd.CDW13&spec.ZonePartial != 0 {
		count = min(count, fits)
	}
	if spec.PutZoneReportCount(page, uint64(count)) != nil {
		return spec.StatusInternalError
	}
	return c.toHost(sq, cmd, page, n)
}
