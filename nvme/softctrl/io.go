package softctrl

import (
	"errors"

	"github.com/blobkv/blobkv/nvme/spec"
)

// executeIO carries out a command of the NVM command set, or begins it where it may end later, and returns underWay.
func (c *Controller) executeIO(sq *subQueue, cmd *spec.Command, later bool) (spec.Status, uint64) {
	if cmd.Opcode == spec.CmdFlush && cmd.NSID == spec.BroadcastNSID {
		for _, s := range *c.spaces.Load() {
			if st := written(s.cfg.Storage.Flush()); !st.OK() {
				return st, 0
			}
		}
		return spec.StatusSuccess, 0
	}
	s := (*c.spaces.Load())[cmd.NSID]
	if s == nil {
		return spec.StatusInvalidNamespace, 0
	}
	if s.zones != nil {
		if st, result, done := c.zoned(sq, s, cmd); done {
			return st, result
		}
	}
	return c.plain(sq, s, cmd, later), 0
}

// plain is a command that returns no result.
func (c *Controller) plain(sq *subQueue, s *space, cmd *spec.Command, later bool) spec.Status {
	var f *flights
	if later {
		f = s.flights
	}
	switch cmd.Opcode {
	case spec.CmdFlush:
		c.stats.flushes.Add(1)
		if f.start(sq, cmd, StorageOp{Kind: StorageFlush}, nil) {
			return underWay
		}
		return written(s.cfg.Storage.Flush())
	case spec.CmdDSM:
		return c.deallocate(sq, s, cmd)
	case spec.CmdCopy:
		return c.copy(sq, s, cmd)
	}
	n, st := s.span(cmd)
	if !st.OK() {
		return st
	}
	if s.cfg.ReadOnly && cmd.Opcode != spec.CmdRead && cmd.Opcode != spec.CmdCompare && cmd.Opcode != spec.CmdVerify {
		return spec.StatusWriteProtected
	}
	switch cmd.Opcode {
	case spec.CmdRead:
		c.stats.reads.Add(1)
		c.stats.bytesRead.Add(n << s.shift)
		return c.read(sq, s, cmd, n, f)
	case spec.CmdWrite:
		c.stats.writes.Add(1)
		c.stats.bytesWritten.Add(n << s.shift)
		return c.write(sq, s, cmd, n, f)
	case spec.CmdCompare:
		return c.compare(sq, s, cmd, n)
	case spec.CmdVerify:
		return c.verify(sq, s, cmd, n)
	case spec.CmdWriteZeroes:
		return s.zero(cmd.LBA(), n)
	}
	return spec.StatusInvalidOpcode
}

// media turns an error of the storage into a status.
func media(err error, st spec.Status) spec.Status {
	if err != nil {
		return st
	}
	return spec.StatusSuccess
}

// written is the status of a change of the storage.
func written(err error) spec.Status {
	if errors.Is(err, ErrNoSpace) {
		return spec.StatusCapacityExceeded | spec.StatusDNR
	}
	return media(err, spec.StatusWriteFault)
}

// span checks the range of a command.
func (s *space) span(cmd *spec.Command) (uint64, spec.Status) {
	n := uint64(cmd.CDW12&0xFFFF) + 1
	if lba := cmd.LBA(); lba >= s.blocks || n > s.blocks-lba {
		return 0, spec.StatusLBAOutOfRange
	}
	return n, spec.StatusSuccess
}

// transferUnit is how many bytes of a block the host's buffer has: with PRACT and nothing but protection information, that
// is left out (NVM 1.0, section 5.2.2).
func (s *space) transferUnit(cmd *spec.Command) int {
	if s.stripped(cmd) {
		return s.cfg.BlockSize
	}
	return s.unit
}

func (s *space) stripped(cmd *spec.Command) bool {
	return s.cfg.Protection != 0 && cmd.CDW12&spec.PRACT != 0 && s.cfg.MetaSize == spec.PISize
}

// transfer finds the host's memory of n blocks, and checks MDTS.
func (c *Controller) transfer(sq *subQueue, s *space, cmd *spec.Command, n uint64, write bool) ([][]byte, spec.Status) {
	bytes := int(n) * s.transferUnit(cmd)
	if c.cfg.MDTS != NoLimit && bytes > pageSize<<c.cfg.MDTS {
		return nil, spec.StatusInvalidField
	}
	return c.locate(&sq.scratch, cmd, bytes, write)
}

// apart tells whether the pieces of a transfer of n blocks may reach the storage one by one: they are whole blocks, and more
// than the controller says are atomic (AWUN, AWUPF).
func (c *Controller) apart(s *space, parts [][]byte, n uint64) bool {
	if n <= uint64(c.cfg.AtomicBlocks) {
		return false
	}
	for _, p := range parts {
		if len(p)&(s.cfg.BlockSize-1) != 0 {
			return false
		}
	}
	return true
}

// read is the fast path when the blocks have no metadata.
func (c *Controller) read(sq *subQueue, s *space, cmd *spec.Command, n uint64, f *flights) spec.Status {
	parts, st := c.transfer(sq, s, cmd, n, true)
	if !st.OK() {
		return st
	}
	at := int64(cmd.LBA() << s.shift)
	if f.start(sq, cmd, StorageOp{Kind: StorageRead, Offset: at}, parts) {
		return underWay
	}
	if s.cfg.MetaSize > 0 {
		return c.readMeta(sq, s, cmd, n, parts)
	}
	if len(parts) > 1 && !c.apart(s, parts, n) {
		data, st := s.load(&sq.scratch.buf, cmd.LBA(), n)
		if st.OK() {
			scatter(parts, data)
		}
		return st
	}
	for _, p := range parts {
		if _, err := s.cfg.Storage.ReadAt(p, at); err != nil {
			return spec.StatusUnrecoveredRead
		}
		at += int64(len(p))
	}
	return spec.StatusSuccess
}

func (c *Controller) write(sq *subQueue, s *space, cmd *spec.Command, n uint64, f *flights) spec.Status {
	parts, st := c.transfer(sq, s, cmd, n, false)
	if !st.OK() {
		return st
	}
	o := StorageOp{Kind: StorageWrite, Durable: cmd.CDW12&spec.FUA != 0, Offset: int64(cmd.LBA() << s.shift)}
	if f.start(sq, cmd, o, parts) {
		return underWay
	}
	if s.cfg.MetaSize > 0 {
		st = c.writeMeta(sq, s, cmd, n, parts)
	} else {
		st = c.writePlain(sq, s, cmd, n, parts)
	}
	if st.OK() && o.Durable {
		return written(s.cfg.Storage.Flush())
	}
	return st
}

// writePlain is write when the blocks have no metadata.
func (c *Controller) writePlain(sq *subQueue, s *space, cmd *spec.Command, n uint64, parts [][]byte) spec.Status {
	if len(parts) > 1 && !c.apart(s, parts, n) {
		parts = append(parts[:0], sq.scratch.gather(parts))
	}
	at := int64(cmd.LBA() << s.shift)
	for _, p := range parts {
		if _, err := s.cfg.Storage.WriteAt(p, at); err != nil {
			return written(err)
		}
		at += int64(len(p))
	}
	return spec.StatusSuccess
}

// load reads n blocks of data into memory of the queue.
func (s *space) load(b *[]byte, lba, n uint64) ([]byte, spec.Status) {
	size := int(n) << s.shift
	if cap(*b) < size {
		*b = make([]byte, size)
	}
	data := (*b)[:size]
	if _, err := s.cfg.Storage.ReadAt(data, int64(lba<<s.shift)); err != nil {
		return nil, spec.StatusUnrecoveredRead
	}
	return data, spec.StatusSuccess
}

// compare reads and compares, the metadata of an extended format included.
func (c *Controller) compare(sq *subQueue, s *space, cmd *spec.Command, n uint64) spec.Status {
	parts, st := c.transfer(sq, s, cmd, n, false)
	if !st.OK() {
		return st
	}
	data, st := s.load(&sq.scratch.expect, cmd.LBA(), n)
	if !st.OK() {
		return st
	}
	have := data
	if s.cfg.Extended && !s.stripped(cmd) {
		have = s.interleave(&sq.scratch.buf, data, cmd.LBA(), n)
	}
	for _, p := range parts {
		if string(have[:len(p)]) != string(p) {
			return spec.StatusCompareFailure
		}
		have = have[len(p):]
	}
	return spec.StatusSuccess
}

// verify reads and checks protection information.
func (c *Controller) verify(sq *subQueue, s *space, cmd *spec.Command, n uint64) spec.Status {
	data, st := s.load(&sq.scratch.expect, cmd.LBA(), n)
	if !st.OK() || s.cfg.Protection == 0 {
		return st
	}
	return s.checkAll(cmd, data, s.metaOf(cmd.LBA(), n))
}

// zero is write zeroes.
func (s *space) zero(lba, n uint64) spec.Status {
	s.clearMeta(lba, n)
	return written(s.cfg.Storage.Discard(int64(lba<<s.shift), int64(n<<s.shift)))
}

// deallocate is dataset management with AD.
func (c *Controller) deallocate(sq *subQueue, s *space, cmd *spec.Command) spec.Status {
	n := int(cmd.CDW10&0xFF) + 1
	list, st := c.fromHost(sq, cmd, n*spec.DSMRangeSize)
	if !st.OK() {
		return st
	}
	if cmd.CDW11&spec.DSMDeallocate == 0 {
		return spec.StatusSuccess // hints
	}
	if s.cfg.ReadOnly {
		return spec.StatusWriteProtected
	}
	for ; len(list) > 0; list = list[spec.DSMRangeSize:] {
		var r spec.DSMRange
		r.Get(list)
		if r.LBA > s.blocks || uint64(r.Blocks) > s.blocks-r.LBA {
			return spec.StatusLBAOutOfRange
		}
		if st := s.zero(r.LBA, uint64(r.Blocks)); !st.OK() {
			return st
		}
	}
	return spec.StatusSuccess
}

// copy copies source ranges, one after another, to where the command says.
func (c *Controller) copy(sq *subQueue, s *space, cmd *spec.Command) spec.Status {
	n := int(cmd.CDW12&0xFF) + 1
	if n > maxCopyRanges || cmd.CDW12>>8&15 != 0 {
		return spec.StatusInvalidField
	}
	if s.cfg.ReadOnly {
		return spec.StatusWriteProtected
	}
	list, st := c.fromHost(sq, cmd, n*spec.CopyRangeSize)
	if !st.OK() {
		return st
	}
	c.Drain()
	s.pair.Lock()
	defer s.pair.Unlock()
	total := uint64(0)
	to := cmd.LBA()
	for ; len(list) > 0; list = list[spec.CopyRangeSize:] {
		var r spec.CopyRange
		r.Get(list)
		k := uint64(r.Blocks)
		if total += k; k > maxCopyRange || total > maxCopy {
			return spec.StatusCommandSizeLimit
		}
		if r.LBA >= s.blocks || k > s.blocks-r.LBA || to >= s.blocks || k > s.blocks-to {
			return spec.StatusLBAOutOfRange
		}
		data, st := s.load(&sq.scratch.expect, r.LBA, k)
		if !st.OK() {
			return st
		}
		copy(s.metaOf(to, k), s.metaOf(r.LBA, k))
		if _, err := s.cfg.Storage.WriteAt(data, int64(to<<s.shift)); err != nil {
			return written(err)
		}
		to += k
	}
	return spec.StatusSuccess
}

// handleFused carries out compare and write, which follow each other in the queue (base 2.0, section 3.4.2).
func (c *Controller) handleFused(sq *subQueue, cmd *spec.Command) {
	fuse := cmd.Flags & spec.FuseMask
	if sq.pairing && fuse != spec.FuseSecond {
		sq.pairing = false
		first := sq.fused
		c.complete(sq, &first, spec.StatusAbortFusedMissing, 0)
	}
	switch {
	case fuse == spec.FuseFirst:
		sq.fused, sq.pairing = *cmd, true
		return
	case !sq.pairing && fuse != 0:
		c.complete(sq, cmd, spec.StatusAbortFusedMissing, 0)
		return
	case fuse == 0:
		status, result := c.execute(sq, cmd)
		c.complete(sq, cmd, status, result)
		return
	}
	sq.pairing = false
	first := sq.fused
	st, second := c.comparePair(sq, &first, cmd)
	c.complete(sq, &first, st, 0)
	c.complete(sq, cmd, second, 0)
}

func (c *Controller) comparePair(sq *subQueue, first, second *spec.Command) (spec.Status, spec.Status) {
	s := (*c.spaces.Load())[first.NSID]
	if s == nil {
		return spec.StatusInvalidNamespace, spec.StatusAbortFusedFailed
	}
	if first.Opcode != spec.CmdCompare || second.Opcode != spec.CmdWrite || first.LBA() != second.LBA() ||
		first.CDW12&0xFFFF != second.CDW12&0xFFFF || first.NSID != second.NSID {
		return spec.StatusInvalidField, spec.StatusAbortFusedFailed
	}
	if first.CDW12&0xFFFF >= uint32(c.cfg.AtomicBlocks) {
		return spec.StatusAtomicWriteUnit, spec.StatusAbortFusedFailed
	}
	c.Drain()
	s.pair.Lock()
	defer s.pair.Unlock()
	if st, _ := c.executeIO(sq, first, false); !st.OK() {
		return st, spec.StatusAbortFusedFailed
	}
	st, _ := c.executeIO(sq, second, false)
	return spec.StatusSuccess, st
}
