package nvme

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// scanState identifies the namespaces, one command after another. It is guarded by Controller.mu.
type scanState struct {
	sequence
	ids    []uint32 // all that are active
	next   int      // of ids
	raw    rawNamespace
	found  map[uint32]*NamespaceInfo
	bad    map[uint32]error
	limits commandLimits
	beyond uint32        // the first one that is not looked at, 0 is none
	until  time.Duration // when all of it is to be over
}

// rawNamespace is what the controller says of one namespace.
type rawNamespace struct {
	id      uint32
	ident   spec.IdentifyNamespace
	ids     spec.Descriptors
	nvm     spec.NVMNamespace
	zoned   spec.ZonedNamespace
	unknown error // it cannot be used
}

// commandLimits are what the controller says of its command sets.
type commandLimits struct {
	nvm   spec.NVMController
	known bool // nvm was given
	zoned spec.ZonedController
}

// maxNamespaces bounds how many namespaces the driver looks at; those with the lowest identifiers are taken. scanTimeouts is
// how many times Options.AdminTimeout a scan may take: a controller that answers each question late must not take hours.
const (
	maxNamespaces  = 256
	scanTimeouts   = 10
	namespaceBytes = 1024 // of memory for each, roughly
)

// beginScan starts a scan; changed reads the log of changed namespaces first, which lets the controller report more.
func (c *Controller) beginScan(changed bool) error {
	s := &c.scan
	s.ids, s.next, s.beyond = s.ids[:0], 0, 0
	s.until = c.now + scanTimeouts*c.o.AdminTimeout
	s.found, s.bad, s.limits = map[uint32]*NamespaceInfo{}, map[uint32]error{}, commandLimits{}
	if !changed {
		return s.askLimits()
	}
	cmd := spec.Command{Opcode: spec.AdminGetLogPage, NSID: spec.BroadcastNSID, CDW10: spec.LogChangedNS | (spec.ChangedNSSize/4-1)<<16}
	return s.ask("reading the log of changed namespaces", cmd, s.askLimits, tolerate)
}

// askLimits asks for the limits of the command sets, where the controller knows the question.
func (s *scanState) askLimits() error {
	if !s.c.manySets() {
		return s.askList()
	}
	return s.ask("identifying the NVM command set", identify(spec.CNSControllerCSI, 0, spec.CSINVM), func() error {
		if s.limits.known = s.call.req.Err == nil; s.limits.known {
			if err := s.limits.nvm.Unmarshal(s.call.data.Bytes); err != nil {
				return err
			}
		}
		return s.askZonedLimits()
	}, tolerate)
}

func (s *scanState) askZonedLimits() error {
	return s.ask("identifying the zoned command set", identify(spec.CNSControllerCSI, 0, spec.CSIZoned), func() error {
		if s.call.req.Err == nil {
			if err := s.limits.zoned.Unmarshal(s.call.data.Bytes); err != nil {
				return err
			}
		}
		return s.askList()
	}, tolerate)
}

// manySets tells whether the controller knows about command sets (base 2.0).
func (c *Controller) manySets() bool { return c.cap.CSS()&spec.CSSIOCS != 0 }

func identify(cns uint32, nsid uint32, csi uint8) spec.Command {
	return spec.Command{Opcode: spec.AdminIdentify, NSID: nsid, CDW10: cns, CDW11: uint32(csi) << 24}
}

// askList asks which namespaces are active, from the last one that is known on.
func (s *scanState) askList() error {
	if !s.c.vs.AtLeast(1, 1) {
		nn := s.c.ident.Load().NN
		for id := uint32(1); id <= min(nn, maxNamespaces); id++ {
			s.ids = append(s.ids, id)
		}
		if nn > maxNamespaces {
			s.beyond = maxNamespaces + 1
		}
		return s.askNamespace()
	}
	last := uint32(0)
	if len(s.ids) > 0 {
		last = s.ids[len(s.ids)-1]
	}
	return s.ask("listing namespaces", identify(spec.CNSActiveList, last, 0), func() error { return s.takeList(last) }, nil)
}

func (s *scanState) takeList(last uint32) error {
	ids, err := spec.ActiveList(s.call.data.Bytes)
	if err == nil && len(ids) > 0 && (ids[0] <= last || ids[len(ids)-1] >= spec.BroadcastNSID-1) {
		err = fmt.Errorf("namespaces %d to %d follow %d", ids[0], ids[len(ids)-1], last)
	}
	if err != nil {
		return fmt.Errorf("list of namespaces: %w: %w", ErrProtocol, err)
	}
	s.ids = append(s.ids, ids...)
	if len(s.ids) > maxNamespaces {
		s.beyond, s.ids = s.ids[maxNamespaces], s.ids[:maxNamespaces]
	} else if len(ids) == spec.ActiveListEntries {
		return s.askList()
	}
	return s.askNamespace()
}

// askNamespace asks for the identify data of the next namespace.
func (s *scanState) askNamespace() error {
	if s.next == len(s.ids) {
		s.c.beyond = s.beyond
		s.c.publish(s.found, s.bad)
		return nil
	}
	if s.c.now > s.until {
		return fmt.Errorf("identifying namespaces, %d of %d after %d times the time of a command: %w", s.next, len(s.ids), scanTimeouts, ErrTimeout)
	}
	s.raw = rawNamespace{id: s.ids[s.next]}
	s.next++
	return s.ask("identifying a namespace", identify(spec.CNSNamespace, s.raw.id, 0), func() error {
		if s.raw.unknown = s.call.req.Err; s.raw.unknown == nil {
			if err := s.raw.ident.Unmarshal(s.call.data.Bytes); err != nil {
				return err
			}
		}
		return s.askDescriptors()
	}, tolerate)
}

func (s *scanState) askDescriptors() error {
	if !s.c.vs.AtLeast(1, 3) {
		return s.takeNamespace()
	}
	return s.ask("identifying a namespace's names", identify(spec.CNSDescriptors, s.raw.id, 0), func() error {
		if s.call.req.Err == nil {
			if err := s.raw.ids.Unmarshal(s.call.data.Bytes); err != nil {
				s.raw.unknown = fmt.Errorf("%w: %w", ErrProtocol, err)
			}
		}
		return s.askSpecific()
	}, tolerate)
}

func (s *scanState) askSpecific() error {
	if !s.c.manySets() || s.raw.ids.CSI != spec.CSINVM && s.raw.ids.CSI != spec.CSIZoned {
		return s.takeNamespace()
	}
	return s.ask("identifying a namespace's formats", identify(spec.CNSNamespaceCSI, s.raw.id, spec.CSINVM), func() error {
		if s.call.req.Err == nil {
			if err := s.raw.nvm.Unmarshal(s.call.data.Bytes); err != nil {
				return err
			}
		}
		if s.raw.ids.CSI == spec.CSIZoned {
			return s.askZones()
		}
		return s.takeNamespace()
	}, tolerate)
}

func (s *scanState) askZones() error {
	return s.ask("identifying zones", identify(spec.CNSNamespaceCSI, s.raw.id, spec.CSIZoned), func() error {
		if err := s.call.req.Err; err != nil {
			s.raw.unknown = err
		} else if err := s.raw.zoned.Unmarshal(s.call.data.Bytes); err != nil {
			return err
		}
		return s.takeNamespace()
	}, tolerate)
}

// takeNamespace judges what was said and goes on.
func (s *scanState) takeNamespace() error {
	info, err := s.c.judgeNamespace(&s.raw, &s.limits)
	if err != nil {
		s.bad[s.raw.id] = err
	} else {
		s.found[s.raw.id] = info
	}
	return s.askNamespace()
}

// publish makes the result of a scan what callers see, and reports what changed.
func (c *Controller) publish(found map[uint32]*NamespaceInfo, bad map[uint32]error) {
	first := c.state == stateStarting
	for id, n := range c.handles {
		if found[id] == nil && n.info.Load() != nil {
			n.info.Store(nil)
			c.event(Event{Kind: EventNamespaceDetached, NSID: id, Err: bad[id]})
		}
	}
	var usable []*Namespace
	for id, info := range found {
		n := c.handles[id]
		if n == nil {
			n = &Namespace{id: id}
			c.handles[id] = n
		}
		old := n.info.Load()
		switch {
		case old == nil && !first:
			c.event(Event{Kind: EventNamespaceAttached, NSID: id})
		case old != nil && !sameNamespace(old, info):
			c.event(Event{Kind: EventNamespaceChanged, NSID: id})
		}
		n.info.Store(info)
		usable = append(usable, n)
	}
	slices.SortFunc(usable, func(a, b *Namespace) int { return int(int64(a.id) - int64(b.id)) })
	c.spaces.Store(&usable)
	c.refused = bad
}

// sameNamespace compares but for how much of it is in use.
func sameNamespace(a, b *NamespaceInfo) bool {
	x, y := *a, *b
	x.Identify.NUSE, y.Identify.NUSE = 0, 0
	return reflect.DeepEqual(&x, &y)
}

// Rescan looks at all namespaces again and waits for it.
func (c *Controller) Rescan() error {
	c.mu.Lock()
	c.rescan = true
	c.mu.Unlock()
	for i := 0; ; i++ {
		c.idle(i)
		c.mu.Lock()
		state, why, busy := c.state, c.why, c.rescan || c.scan.running()
		c.mu.Unlock()
		switch {
		case state == stateFailed || state == stateClosed:
			return fmt.Errorf("%s: looking for namespaces: %w", c.Name(), why)
		case state == stateRunning && !busy:
			return nil
		}
	}
}

// ListNamespaces returns identifiers: of the active namespaces, or of all that are allocated in the subsystem.
func (c *Controller) ListNamespaces(allocated bool) ([]uint32, error) {
	cns := uint32(spec.CNSActiveList)
	if allocated {
		cns = spec.CNSAllocatedList
	}
	var all []uint32
	page := make([]byte, spec.IdentifySize)
	for last := uint32(0); len(all) <= 1<<16; {
		if _, err := c.Identified(cns, last, 0, page); err != nil {
			return nil, err
		}
		ids, err := spec.ActiveList(page)
		if err == nil && len(ids) > 0 && ids[0] <= last {
			err = fmt.Errorf("namespace %d follows %d", ids[0], last)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: list of namespaces: %w: %w", c.Name(), ErrProtocol, err)
		}
		if all = append(all, ids...); len(ids) < spec.ActiveListEntries {
			return all, nil
		}
		last = ids[len(ids)-1]
	}
	return all, nil
}

// Identified fills a page of 4096 bytes with an identify data structure.
func (c *Controller) Identified(cns, nsid uint32, csi uint8, page []byte) (uint32, error) {
	if len(page) != spec.IdentifySize {
		return 0, fmt.Errorf("identify into %d bytes, want %d: %w", len(page), spec.IdentifySize, ErrInvalid)
	}
	return c.Admin(identify(cns, nsid, csi), page)
}

// AttachedControllers returns the identifiers of the controllers a namespace is attached to.
func (c *Controller) AttachedControllers(nsid uint32) ([]uint16, error) {
	page := make([]byte, spec.IdentifySize)
	if _, err := c.Identified(spec.CNSAttachedCtrls, nsid, 0, page); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint16(page))
	if n > (spec.IdentifySize-2)/2 {
		return nil, fmt.Errorf("%s: %d controllers in a page: %w", c.Name(), n, ErrProtocol)
	}
	ids := make([]uint16, n)
	for i := range ids {
		ids[i] = binary.LittleEndian.Uint16(page[2+2*i:])
	}
	return ids, nil
}
