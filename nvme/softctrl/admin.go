package softctrl

import (
	"slices"
	"sync/atomic"

	"github.com/blobkv/blobkv/nvme/spec"
)

// executeAdmin carries out an admin command. It is called with mu held.
func (c *Controller) executeAdmin(sq *subQueue, cmd *spec.Command) (spec.Status, uint64) {
	st, result := c.admin(sq, cmd)
	if !st.OK() && st.Code() != spec.StatusAbortRequested {
		c.logError(sq.id, cmd, st)
	}
	return st, uint64(result)
}

func (c *Controller) admin(sq *subQueue, cmd *spec.Command) (spec.Status, uint32) {
	switch cmd.Opcode {
	case spec.AdminCreateCQ:
		return c.createCQ(cmd), 0
	case spec.AdminCreateSQ:
		return c.createSQ(cmd), 0
	case spec.AdminDeleteSQ:
		return c.deleteSQ(uint16(cmd.CDW10)), 0
	case spec.AdminDeleteCQ:
		return c.deleteCQ(uint16(cmd.CDW10)), 0
	case spec.AdminIdentify:
		return c.identify(sq, cmd), 0
	case spec.AdminGetLogPage:
		return c.logPage(sq, cmd), 0
	case spec.AdminAbort:
		if c.abort(uint16(cmd.CDW10), uint16(cmd.CDW10>>16)) {
			return spec.StatusSuccess, 0
		}
		return spec.StatusSuccess, 1 // not aborted
	case spec.AdminSetFeatures:
		return c.setFeature(sq, cmd)
	case spec.AdminGetFeatures:
		return c.getFeature(cmd)
	case spec.AdminKeepAlive:
		return spec.StatusSuccess, 0
	case spec.AdminDoorbellBuffer:
		return c.doorbellBuffer(cmd), 0
	}
	return c.manage(sq, cmd)
}

// queueMemory checks what a create command gives.
func (c *Controller) queueMemory(cmd *spec.Command) (id uint16, size uint32, st spec.Status) {
	id, size = uint16(cmd.CDW10), cmd.CDW10>>16+1
	switch {
	case id == 0 || int(id) >= len(c.subs):
		return 0, 0, spec.StatusInvalidQID
	case size < 2 || int(size) > c.cfg.Entries:
		return 0, 0, spec.StatusInvalidQueueSize
	case cmd.CDW11&1 == 0:
		return 0, 0, spec.StatusInvalidField // must be contiguous, see CAP.CQR
	case cmd.PRP1&(pageSize-1) != 0:
		return 0, 0, spec.StatusPRPOffset
	}
	return id, size, spec.StatusSuccess
}

func (c *Controller) createCQ(cmd *spec.Command) spec.Status {
	id, size, st := c.queueMemory(cmd)
	if !st.OK() {
		return st
	}
	if c.comps[id].Load() != nil {
		return spec.StatusInvalidQID
	}
	cq := &compQueue{id: id, size: size, iova: cmd.PRP1, phase: true, interrupts: cmd.CDW11&2 != 0, vector: uint16(cmd.CDW11 >> 16)}
	if cq.interrupts && int(cq.vector) >= max(c.cfg.Vectors, 1) {
		return spec.StatusInvalidInterruptVector
	}
	atomic.StoreUint32(c.doorbell(2*int(id)+1), 0)
	c.comps[id].Store(cq)
	return spec.StatusSuccess
}

func (c *Controller) createSQ(cmd *spec.Command) spec.Status {
	id, size, st := c.queueMemory(cmd)
	if !st.OK() {
		return st
	}
	if c.subs[id].Load() != nil {
		return spec.StatusInvalidQID
	}
	cqid := int(cmd.CDW11 >> 16)
	if cqid == 0 || cqid >= len(c.comps) || c.comps[cqid].Load() == nil {
		return spec.StatusInvalidCQ
	}
	atomic.StoreUint32(c.doorbell(2*int(id)), 0)
	c.subs[id].Store(&subQueue{id: id, size: size, iova: cmd.PRP1, cq: c.comps[cqid].Load()})
	return spec.StatusSuccess
}

func (c *Controller) deleteSQ(id uint16) spec.Status {
	if id == 0 || int(id) >= len(c.subs) {
		return spec.StatusInvalidQID
	}
	c.Drain()
	sq := c.subs[id].Swap(nil)
	if sq == nil {
		return spec.StatusInvalidQID
	}
	sq.mu.Lock()
	defer sq.mu.Unlock()
	sq.deleted = true
	return spec.StatusSuccess
}

func (c *Controller) deleteCQ(id uint16) spec.Status {
	if id == 0 || int(id) >= len(c.comps) || c.comps[id].Load() == nil {
		return spec.StatusInvalidQID
	}
	cq := c.comps[id].Load()
	for i := range c.subs {
		if sq := c.subs[i].Load(); sq != nil && sq.cq == cq {
			return spec.StatusInvalidQueueDeletion
		}
	}
	c.comps[id].Store(nil)
	return spec.StatusSuccess
}

func (c *Controller) doorbellBuffer(cmd *spec.Command) spec.Status {
	if !c.cfg.Shadow {
		return spec.StatusInvalidOpcode
	}
	if cmd.PRP1&(pageSize-1) != 0 || cmd.PRP2&(pageSize-1) != 0 || c.cfg.doorbellBytes() > pageSize ||
		c.mem.Translate(cmd.PRP1, pageSize, true) == nil || c.mem.Translate(cmd.PRP2, pageSize, true) == nil {
		return spec.StatusInvalidField
	}
	c.shadow.Store(&shadowBuffers{cmd.PRP1, cmd.PRP2})
	return spec.StatusSuccess
}

// setFeature stores a value; only a few have an effect.
func (c *Controller) setFeature(sq *subQueue, cmd *spec.Command) (spec.Status, uint32) {
	fid := cmd.CDW10 & 0xFF
	if cmd.CDW10&spec.Save != 0 {
		return spec.StatusFeatureNotSaveable, 0
	}
	switch fid {
	case spec.FeatQueues:
		if cmd.CDW11&0xFFFF == 0xFFFF || cmd.CDW11>>16 == 0xFFFF {
			return spec.StatusInvalidField, 0
		}
		n := uint16(c.cfg.Queues)
		return spec.StatusSuccess, spec.QueueCounts(min(n, uint16(cmd.CDW11)+1), min(n, uint16(cmd.CDW11>>16)+1))
	case spec.FeatHostBehavior:
		_, st := c.fromHost(sq, cmd, spec.HostBehaviorSize)
		return st, 0
	}
	if !settable[fid] {
		return spec.StatusInvalidField, 0
	}
	c.features[fid] = cmd.CDW11
	return spec.StatusSuccess, 0
}

// settable are the features that keep a dword.
var settable = map[uint32]bool{spec.FeatArbitration: true, spec.FeatPower: true, spec.FeatTemperature: true,
	spec.FeatErrorRecovery: true, spec.FeatWriteCache: true, spec.FeatCoalescing: true, spec.FeatAtomicity: true,
	spec.FeatAsyncEvents: true, spec.FeatKeepAlive: true, spec.FeatSoftwareProgress: true}

func (c *Controller) getFeature(cmd *spec.Command) (spec.Status, uint32) {
	fid := cmd.CDW10 & 0xFF
	switch {
	case fid == spec.FeatQueues:
		return spec.StatusSuccess, spec.QueueCounts(uint16(c.cfg.Queues), uint16(c.cfg.Queues))
	case fid == spec.FeatWriteCache && !c.cfg.WriteCache || !settable[fid]:
		return spec.StatusInvalidField, 0
	}
	return spec.StatusSuccess, c.features[fid]
}

// takeRequest takes an asynchronous event request, and answers it when there is something to tell.
func (c *Controller) takeRequest(sq *subQueue, cmd *spec.Command) {
	if len(c.aers) > int(c.cfg.Events) {
		c.complete(sq, cmd, spec.StatusAsyncEventLimit, 0)
		return
	}
	c.aers = append(c.aers, cmd.CID)
	c.tell()
}

// announce tells the host of an event, once until it reads the log page. It is called with mu held.
func (c *Controller) announce(e spec.AsyncEvent) {
	if c.masked[e.Log()] {
		return
	}
	c.masked[e.Log()] = true
	c.events = append(c.events, e)
	c.tell()
}

func (c *Controller) tell() {
	sq := c.subs[0].Load()
	for sq != nil && len(c.aers) > 0 && len(c.events) > 0 {
		c.complete(sq, &spec.Command{CID: c.aers[0]}, spec.StatusSuccess, uint64(c.events[0]))
		c.aers, c.events = c.aers[1:], c.events[1:]
	}
}

// logError adds an entry to the error log.
func (c *Controller) logError(sqid uint16, cmd *spec.Command, st spec.Status) {
	c.nErrors++
	e := spec.ErrorEntry{Count: c.nErrors, SQID: sqid, CID: cmd.CID, StatusField: uint16(st) << 1, NSID: cmd.NSID, Location: 0xFFFF}
	c.errors = append([]spec.ErrorEntry{e}, c.errors[:min(len(c.errors), errorEntries-1)]...)
}

// errorEntries is the length of the error log.
const errorEntries = 16

// logPage answers get log page.
func (c *Controller) logPage(sq *subQueue, cmd *spec.Command) spec.Status {
	lid := uint8(cmd.CDW10)
	n := (int(cmd.CDW11&0xFFFF)<<16 | int(cmd.CDW10>>16)) + 1
	offset := uint64(cmd.CDW12) | uint64(cmd.CDW13)<<32
	page, st := c.log(lid)
	if !st.OK() {
		return st
	}
	if offset&3 != 0 || offset > uint64(len(page)) {
		return spec.StatusInvalidField
	}
	page = page[offset:]
	if n > pageSize {
		return spec.StatusInvalidField
	}
	if want := n * 4; want > len(page) {
		page = append(page, make([]byte, want-len(page))...)
	}
	if st := c.toHost(sq, cmd, page, n*4); !st.OK() {
		return st
	}
	if cmd.CDW10>>15&1 == 0 { // not asked to retain the event
		c.masked[lid] = false
		if lid == spec.LogChangedNS {
			clear(c.changed)
		}
	}
	return spec.StatusSuccess
}

// dataUnits are bytes in thousands of 512, rounded up, whatever the block size is (base 2.0, figure 207).
func dataUnits(bytes *atomic.Uint64) uint64 { return (bytes.Load() + 511_999) / 512_000 }

// log builds a log page.
func (c *Controller) log(lid uint8) ([]byte, spec.Status) {
	page := make([]byte, pageSize)
	var err error
	switch lid {
	case spec.LogSupported:
		for _, l := range []int{spec.LogSupported, spec.LogError, spec.LogSMART, spec.LogFirmware, spec.LogChangedNS, spec.LogEffects, spec.LogSanitize} {
			page[4*l] = 1
		}
	case spec.LogError:
		for i := range c.errors {
			if err == nil {
				err = c.errors[i].Marshal(page[i*spec.ErrorEntrySize:])
			}
		}
	case spec.LogSMART:
		s := spec.SMART{CriticalWarning: uint8(c.features[healthWarning]), Temperature: 300, AvailableSpare: 100, SpareThreshold: 10}
		s.DataUnitsRead.Lo, s.DataUnitsWritten.Lo = dataUnits(&c.stats.bytesRead), dataUnits(&c.stats.bytesWritten)
		s.HostReads.Lo, s.HostWrites.Lo = c.stats.reads.Load(), c.stats.writes.Load()
		s.ErrorEntries.Lo = c.nErrors
		err = s.Marshal(page)
	case spec.LogFirmware:
		err = c.slots.Marshal(page)
	case spec.LogChangedNS:
		err = spec.PutActiveList(page, c.changedList())
	case spec.LogEffects:
		err = c.effects(page)
	case spec.LogSanitize:
		err = c.sanitize.Marshal(page)
	default:
		return nil, spec.StatusInvalidLogPage
	}
	if err != nil {
		return nil, spec.StatusInternalError
	}
	return page, spec.StatusSuccess
}

// changedList is the log of changed namespaces: that there are too many when they do not fit (base 2.0, section 5.16.1.5).
func (c *Controller) changedList() []uint32 {
	if len(c.changed) > spec.ActiveListEntries {
		return []uint32{spec.ChangedOverflow}
	}
	return sorted(c.changed)
}

func (c *Controller) effects(page []byte) error {
	var e spec.Effects
	for _, o := range []int{spec.AdminDeleteSQ, spec.AdminCreateSQ, spec.AdminGetLogPage, spec.AdminDeleteCQ, spec.AdminCreateCQ,
		spec.AdminIdentify, spec.AdminAbort, spec.AdminSetFeatures, spec.AdminGetFeatures, spec.AdminAsyncEvent} {
		e.Admin[o] = spec.EffectSupported
	}
	for _, o := range []int{spec.CmdFlush, spec.CmdRead, spec.CmdCompare, spec.CmdVerify} {
		e.IO[o] = spec.EffectSupported
	}
	for _, o := range []int{spec.CmdWrite, spec.CmdWriteZeroes, spec.CmdDSM, spec.CmdCopy} {
		e.IO[o] = spec.EffectSupported | spec.EffectChanges
	}
	if !c.cfg.Fixed {
		e.Admin[spec.AdminFormat] = spec.EffectSupported | spec.EffectChanges | spec.EffectNSChange
	}
	return e.Marshal(page)
}

// identify answers identify.
func (c *Controller) identify(sq *subQueue, cmd *spec.Command) spec.Status {
	page := make([]byte, spec.IdentifySize)
	cns, csi := uint8(cmd.CDW10), uint8(cmd.CDW11>>24)
	st := c.describe(page, cns, csi, cmd.NSID)
	if !st.OK() {
		return st | spec.StatusDNR
	}
	if c.cfg.MangleIdentify != nil {
		c.cfg.MangleIdentify(cns, csi, cmd.NSID, page)
	}
	return c.toHost(sq, cmd, page, len(page))
}

func (c *Controller) describe(page []byte, cns, csi uint8, nsid uint32) spec.Status {
	var err error
	switch cns {
	case spec.CNSController:
		id := c.controller()
		err = id.Marshal(page)
	case spec.CNSActiveList, spec.CNSAllocatedList:
		ids := map[uint32]bool{}
		for id, s := range c.all {
			ids[id] = id > nsid && (s.attached || cns == spec.CNSAllocatedList)
		}
		err = spec.PutActiveList(page, sorted(ids))
	case spec.CNSControllerCSI:
		return c.describeSet(page, csi)
	case spec.CNSAttachedCtrls:
		if s := c.all[nsid]; s != nil && s.attached {
			page[0], page[2] = 1, cntlid
		}
	default:
		return c.describeSpace(page, cns, csi, nsid)
	}
	return media(err, spec.StatusInternalError)
}

// describeSet describes a command set.
func (c *Controller) describeSet(page []byte, csi uint8) spec.Status {
	if !c.cfg.Version.AtLeast(2, 0) {
		return spec.StatusInvalidField
	}
	switch csi {
	case spec.CSINVM:
		n := spec.NVMController{DMRL: 255}
		return media(n.Marshal(page), spec.StatusInternalError)
	case spec.CSIZoned:
		z := spec.ZonedController{}
		return media(z.Marshal(page), spec.StatusInternalError)
	}
	return spec.StatusInvalidIOCS
}

// describeSpace describes a namespace.
func (c *Controller) describeSpace(page []byte, cns, csi uint8, nsid uint32) spec.Status {
	s := c.all[nsid]
	if s == nil || !s.attached && cns != spec.CNSAllocated {
		if cns == spec.CNSNamespace && s != nil {
			return spec.StatusSuccess // allocated and not active: zeros
		}
		return spec.StatusInvalidNamespace
	}
	var err error
	switch {
	case cns == spec.CNSNamespace || cns == spec.CNSAllocated:
		id := s.identify(&c.cfg)
		err = id.Marshal(page)
	case cns == spec.CNSDescriptors:
		d := spec.Descriptors{NGUID: s.identify(&c.cfg).NGUID}
		if s.zones != nil {
			d.CSI = spec.CSIZoned
		}
		err = d.Marshal(page)
	case cns == spec.CNSNamespaceCSI && csi == spec.CSINVM:
		var n spec.NVMNamespace
		err = n.Marshal(page)
	case cns == spec.CNSNamespaceCSI && csi == spec.CSIZoned && s.zones != nil:
		z := spec.ZonedNamespace{MAR: ^uint32(0), MOR: s.cfg.MaxOpen - 1}
		z.LBAFE[s.identify(&c.cfg).FLBAS&15].ZSZE = s.cfg.ZoneBlocks
		err = z.Marshal(page)
	default:
		return spec.StatusInvalidField
	}
	return media(err, spec.StatusInternalError)
}

// cntlid is the controller's identifier.
const cntlid = 1

// controller describes the controller.
func (c *Controller) controller() spec.IdentifyController {
	id := spec.IdentifyController{VID: 0x1B36, MDTS: c.cfg.MDTS, CNTLID: cntlid, VER: uint32(c.cfg.Version), RTD3E: 1000000,
		CNTRLTYPE: 1, ACL: c.cfg.Aborts, AERL: c.cfg.Events, ELPE: errorEntries - 1, SQES: 0x66, CQES: 0x44,
		NN: max(c.highest(), 16), OCFS: 1, KAS: 10, FRMW: 1 << 1,
		OACS: spec.OACSFormat | spec.OACSNSManage | spec.OACSSecurity | spec.OACSFirmware,
		ONCS: spec.ONCSCompare | spec.ONCSDSM | spec.ONCSWriteZeroes | spec.ONCSVerify | spec.ONCSCopy,
		OAES: spec.OAESNamespace, LPA: spec.LPAEffects | spec.LPAExtended, FUSES: spec.FUSESCompareWrite,
		AWUN: c.cfg.AtomicBlocks - 1, AWUPF: c.cfg.AtomicBlocks - 1, ACWU: c.cfg.AtomicBlocks - 1,
		SANICAP: spec.SANICAPBlock, CRDT: [3]uint16{1, 2, 5}}
	if c.cfg.MDTS == NoLimit {
		id.MDTS = 0
	}
	if c.cfg.Fixed {
		id.OACS, id.SANICAP = 0, 0
	}
	if c.cfg.WriteCache {
		id.VWC = spec.VWCPresent | spec.VWCFlushAll
	}
	if c.cfg.SGL {
		id.SGLS = spec.SGLSDword
	}
	if c.cfg.Shadow {
		id.OACS |= spec.OACSDBBUF
	}
	pad(id.SN[:], c.cfg.Serial)
	pad(id.MN[:], c.cfg.Model)
	pad(id.FR[:], c.slots.Slot(int(c.slots.AFI&7)))
	copy(id.SUBNQN[:], "nqn.2026-01.io.blobkv:"+c.cfg.Serial)
	return id
}

func pad(field []byte, s string) {
	for i := copy(field, s); i < len(field); i++ {
		field[i] = ' '
	}
}

// sorted are the keys that are true, ascending, as many as a page holds.
func sorted(m map[uint32]bool) (ids []uint32) {
	for id, on := range m {
		if on {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), spec.ActiveListEntries)]
}
