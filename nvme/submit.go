package nvme

import (
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Submit starts requests in order and returns how many the queue took: fewer than len(rs) means that it is full, or that the
// controller is being reset; poll and submit the rest again. One doorbell is rung for all. A request that is refused counts
// as taken; Poll hands it out with its error. Any goroutine may call it.
func (q *Queue) Submit(rs []*Request) int {
	q.mu.Lock()
	n := 0
	for n < len(rs) && q.accept(rs[n]) {
		n++
	}
	q.ring()
	q.settle()
	q.mu.Unlock()
	return n
}

// settle tells Poll whether there is more to do than to look at the completion queue. It is called with mu held.
func (q *Queue) settle() {
	late := int32(0)
	if q.mode == modeClosed || q.ready.first != nil || q.backlog.first != nil || len(q.resend) > 0 {
		late = 1 // the rings of a closed queue are not there to look at
	}
	if q.late.Load() != late {
		q.late.Store(late)
	}
}

// accept takes a request, or says that the queue is full. It is called with mu held.
func (q *Queue) accept(r *Request) bool {
	switch {
	case q.mode == modePaused:
		return false
	case q.mode != modeRunning:
		q.live++
		r.state = requestState{err: q.why}
		q.finish(r)
		return true
	case len(q.free) == 0 || q.backlog.first != nil || len(q.resend) > 0:
		return false
	}
	q.live++
	if err := r.prepare(); err != nil {
		r.state.left, r.state.err = 0, r.explain(err)
	}
	if !q.issue(r) {
		q.backlog.push(r)
	}
	return true
}

// explain adds to an error what was asked.
func (r *Request) explain(err error) error {
	id := uint32(0)
	if r.NS != nil {
		id = r.NS.id
	}
	return fmt.Errorf("%s, namespace %d, LBA %d: %w", r.Op, id, r.LBA, err)
}

// finish hands a request to Poll. It is called with mu held.
func (q *Queue) finish(r *Request) {
	r.Err = r.state.err
	q.ready.push(r)
}

// errNoList says that a command waits for memory of the listPool.
var errNoList = errors.New("no list memory")

// issue turns a request into commands, as far as there are trackers and lists for them; false is not all. It is called with
// mu held.
func (q *Queue) issue(r *Request) bool {
	s := &r.state
	for s.left > 0 && s.err == nil {
		if s.kind == kindFused && len(q.free) < 2 || len(q.free) == 0 {
			return false
		}
		err := q.issueOne(r)
		if err == errNoList {
			return false
		}
		if err != nil {
			s.err = r.explain(err)
		}
	}
	s.left = 0
	if s.pending == 0 {
		q.finish(r)
	}
	return true
}

// issueOne sends the next command of a request; a fused one is two.
func (q *Queue) issueOne(r *Request) error {
	s := &r.state
	t, _ := q.takeTracker(r)
	t.cmd = spec.Command{Opcode: s.opcode, NSID: r.nsid()}
	var n uint64
	var err error
	switch s.kind {
	case kindData:
		n, err = q.buildData(t, r)
	case kindRange:
		n = min(s.left, s.perCmd) // the optimal boundary is about data
		t.cmd.SetLBA(r.LBA + s.offset)
		t.cmd.CDW12 = s.flags | uint32(n-1)
		r.protect(&t.cmd)
	case kindTrim:
		n, err = q.buildTrim(t, r)
	case kindFused:
		return q.issueFused(t, r)
	default:
		n, err = s.left, q.buildSingle(t, r)
	}
	if err != nil {
		q.freeTracker(t)
		return err
	}
	s.left -= n
	s.offset += n
	s.pending++
	q.send(t)
	return nil
}

func (r *Request) nsid() uint32 {
	if r.NS == nil {
		return 0
	}
	return r.NS.id
}

// piece is how many blocks the next command with data carries: as many as one may, up to the optimal boundary (NOIOB, which is
// about reads and writes).
func (s *requestState) piece(r *Request) uint64 {
	n := min(s.left, s.perCmd)
	if b := s.info.Boundary; b != 0 {
		n = min(n, b-(r.LBA+s.offset)%b)
	}
	return n
}

// buildData makes a command that transfers blocks.
func (q *Queue) buildData(t *tracker, r *Request) (uint64, error) {
	s := &r.state
	n := s.left
	if s.kind == kindData && (n > s.perCmd || s.info.Boundary != 0) {
		n = s.piece(r)
	}
	c := &t.cmd
	c.SetLBA(r.LBA + s.offset)
	c.CDW12 = s.flags | uint32(n-1)
	if s.info.MetaSize != 0 {
		r.protect(c)
		if err := q.mapMeta(t, r, n); err != nil {
			return 0, err
		}
	}
	if n == s.left && s.offset == 0 {
		return n, q.mapData(t, r.Buf)
	}
	from := s.offset * uint64(s.unit)
	return n, q.mapData(t, r.Buf[from:from+n*uint64(s.unit)])
}

// protect fills in what end-to-end protection checks.
func (r *Request) protect(c *spec.Command) {
	if r.state.info.Protection == 0 {
		return
	}
	c.CDW12 |= r.PI.Flags & spec.PRINFOMask
	c.CDW14 = r.PI.RefTag
	if r.state.info.Protection != 3 {
		c.CDW14 += uint32(r.state.offset)
	}
	c.CDW15 = uint32(r.PI.App) | uint32(r.PI.AppMask)<<16
}

// mapMeta points a command at its part of a separate metadata buffer.
func (q *Queue) mapMeta(t *tracker, r *Request, n uint64) error {
	if len(r.Meta) == 0 {
		return nil
	}
	size := uint64(r.state.info.MetaSize)
	iova, err := q.contiguous(r.Meta[r.state.offset*size : (r.state.offset+n)*size])
	t.cmd.MPTR = iova
	return err
}

// issueFused sends compare and write, next to each other (base 2.0, section 3.4.2).
func (q *Queue) issueFused(first *tracker, r *Request) error {
	second, _ := q.takeTracker(r)
	s := &r.state
	for i, t := range []*tracker{first, second} {
		buf := r.Buf
		t.cmd = spec.Command{Opcode: spec.CmdCompare, Flags: spec.FuseFirst, NSID: r.NS.id, CDW12: s.flags &^ spec.FUA}
		if i == 1 {
			buf = r.Data
			t.cmd.Opcode, t.cmd.Flags, t.cmd.CDW12 = spec.CmdWrite, spec.FuseSecond, s.flags
		}
		t.cmd.CDW12 |= uint32(s.left - 1)
		t.cmd.SetLBA(r.LBA)
		r.protect(&t.cmd)
		if err := q.mapData(t, buf); err != nil {
			q.freeTracker(second)
			q.freeTracker(first)
			return err
		}
	}
	s.left, s.pending = 0, 2
	q.send(first)
	q.send(second)
	return nil
}

// buildTrim makes a dataset management command (NVM 1.0, section 3.2.3): of one range, or as many of the caller's as fit.
func (q *Queue) buildTrim(t *tracker, r *Request) (uint64, error) {
	if t.list = q.lists.take(); t.list < 0 {
		return 0, errNoList
	}
	s := &r.state
	b := q.lists.bytes(t.list)
	t.cmd.PRP1 = q.lists.iova(t.list)
	t.cmd.CDW11 = spec.DSMDeallocate
	if r.Ranges == nil {
		n := min(s.left, s.perCmd)
		spec.DSMRange{LBA: r.LBA + s.offset, Blocks: uint32(n)}.Put(b)
		return n, nil
	}
	used, n := s.putRanges(b, r.Ranges, min(int(s.info.trimRanges), len(b)/spec.DSMRangeSize))
	t.cmd.CDW10 = uint32(used - 1)
	return n, nil
}

// putRanges writes at most most ranges of a command, those too long for it in pieces, and returns how many it wrote and how
// many of the caller's that finished.
func (s *requestState) putRanges(b []byte, ranges []Range, most int) (used int, done uint64) {
	for ; used < most && done < s.left; used++ {
		g := ranges[s.offset+done]
		n := min(uint64(g.Blocks)-s.within, s.perCmd)
		spec.DSMRange{LBA: g.LBA + s.within, Blocks: uint32(n)}.Put(b[used*spec.DSMRangeSize:])
		if s.within += n; s.within == uint64(g.Blocks) {
			done, s.within = done+1, 0
		}
	}
	return used, done
}

// buildSingle makes the command of a request that is never split.
func (q *Queue) buildSingle(t *tracker, r *Request) error {
	s, c := &r.state, &t.cmd
	switch r.Op {
	case OpFlush:
		return nil
	case OpCopy:
		return q.buildCopy(t, r)
	case OpZoneSend:
		c.SetLBA(r.LBA)
		c.CDW13 = r.Arg
		return nil
	case OpZoneReceive:
		c.SetLBA(r.LBA)
		c.CDW12, c.CDW13 = uint32(len(r.Buf)/4-1), r.Arg
		return q.mapData(t, r.Buf)
	case OpZoneAppend:
		_, err := q.buildData(t, r)
		return err
	}
	*c = r.Raw
	if len(r.Buf) == 0 {
		return nil
	}
	c.Flags &^= spec.PSDTMask
	if s.info != nil && len(r.Meta) > 0 {
		iova, err := q.contiguous(r.Meta)
		if c.MPTR = iova; err != nil {
			return err
		}
	}
	return q.mapData(t, r.Buf)
}

// buildCopy makes a copy command with source ranges of format 0 (NVM 1.0, section 3.2.2).
func (q *Queue) buildCopy(t *tracker, r *Request) error {
	if t.list = q.lists.take(); t.list < 0 {
		return errNoList
	}
	b := q.lists.bytes(t.list)
	if len(r.Ranges)*spec.CopyRangeSize > len(b) {
		return fmt.Errorf("%d ranges, %d fit: %w", len(r.Ranges), len(b)/spec.CopyRangeSize, ErrInvalid)
	}
	for i, g := range r.Ranges {
		spec.CopyRange{LBA: g.LBA, Blocks: g.Blocks}.Put(b[i*spec.CopyRangeSize:])
	}
	t.cmd.PRP1 = q.lists.iova(t.list)
	t.cmd.SetLBA(r.LBA)
	t.cmd.CDW12 = r.state.flags | uint32(len(r.Ranges)-1)
	return nil
}
