package blobstore

import (
	"fmt"
	"sync"
)

// errClusters is the ErrNoSpace that reclaim may cure.
var errClusters = fmt.Errorf("%w: not enough free clusters", ErrNoSpace)

// plan is a transaction worked out against the present state: what each blob would become. Nothing is visible until
// apply. Guarded by Store.mu. Its memory is used again by other transactions.
type plan struct {
	store *Store
	work  []change
	ops   []journalOp
	taken []extent // clusters allocated for it
	rec   []byte
	steps []step // memory for Tx.steps
}

var planPool = sync.Pool{New: func() any { return new(plan) }}

// maxPooled is how many operations a plan may have room for that goes back to the pool. Its record may take a block.
const maxPooled = 64

// reset makes the plan one of nothing.
func (p *plan) reset(s *Store) {
	clear(p.work)
	clear(p.ops)
	p.store, p.work, p.ops, p.taken, p.rec = s, p.work[:0], p.ops[:0], p.taken[:0], p.rec[:0]
}

// release gives the plan back, with the memory of the transaction's steps.
func (p *plan) release(steps []step) {
	if cap(steps) > maxPooled || cap(p.ops) > maxPooled || cap(p.rec) > journalBlock {
		return
	}
	p.reset(nil)
	clear(steps)
	p.steps = steps[:0]
	planPool.Put(p)
}

// change is one blob of a transaction. Redo uses it too.
type change struct {
	blob    *Blob      // nil for a new one
	st      *blobState // what it becomes; shares nothing that it changes with what others see
	created bool
	deleted bool
	remap   bool     // clusters changed
	freed   []extent // clusters given up
	ownX    bool     // st.xattrs is a copy
	voucher *journalOp
	old     []byte // value before the vouched change
	had     bool   // there was one
	need    int
}

func newChange(b *Blob) change {
	st := *b.st
	return change{blob: b, st: &st}
}

func createdChange(id BlobID) change { return change{st: &blobState{id: id}, created: true} }

// apply carries out one operation in st. The caller has checked that it makes sense.
func (c *change) apply(op *journalOp) {
	switch op.kind {
	case opDelete:
		c.freed = append(c.freed, allocatedRuns(c.st.extents)...)
		c.st.extents = nil
		c.deleted = true
	case opTruncate:
		c.freed = append(c.freed, c.st.truncate(int64(op.clusters))...)
		c.remap = true
	case opExtend:
		list := append(make([]extent, 0, len(c.st.extents)+len(op.runs)), c.st.extents...)
		for _, r := range op.runs {
			list = appendExtent(list, r)
		}
		c.st.extents = list
		c.remap = true
	case opSetXattr, opSetVouched:
		c.ownXattrs()
		c.st.xattrs.set(op.name, op.value)
	case opRemoveXattr:
		c.ownXattrs()
		c.st.xattrs.remove(op.name)
	}
}

func (c *change) ownXattrs() {
	if !c.ownX {
		c.st.xattrs = c.st.xattrs.clone()
		c.ownX = true
	}
}

func allocatedRuns(list []extent) []extent {
	var runs []extent
	for _, e := range list {
		if e.allocated() {
			runs = append(runs, e)
		}
	}
	return runs
}

// make works every step out and encodes the record.
func (p *plan) make(steps []step) error {
	for i := range steps {
		if err := p.step(&steps[i]); err != nil {
			return err
		}
	}
	for i := range p.work {
		p.work[i].need = pagesNeeded(p.work[i].st)
	}
	if err := p.checkPages(); err != nil {
		return err
	}
	p.rec = appendRecord(p.rec, p.ops)
	if limit := p.store.j.maxRecord(); len(p.rec) > limit {
		return fmt.Errorf("%w: record of %d bytes, at most %d", ErrTooLarge, len(p.rec), limit)
	}
	return nil
}

func (p *plan) step(s *step) error {
	op := s.op
	if op.kind == opCreate {
		p.work = append(p.work, createdChange(op.id))
		p.ops = append(p.ops, op)
		return nil
	}
	c, err := p.change(op.id)
	if err != nil {
		return err
	}
	if op.kind == 0 {
		ok, err := p.resize(c, s.resize, &op)
		if err != nil || !ok {
			return err
		}
	}
	if op.kind == opSetVouched {
		if err := p.store.toVerify.admit(op.vouch.Length); err != nil {
			return err
		}
		c.old, c.had = c.st.xattrs.get(op.name)
	}
	c.apply(&op)
	p.ops = append(p.ops, op)
	if op.kind == opSetVouched {
		c.voucher = &p.ops[len(p.ops)-1]
	}
	return nil
}

// change finds the blob among those the transaction changes already, or in the store.
func (p *plan) change(id BlobID) (*change, error) {
	for i := range p.work {
		if c := &p.work[i]; c.st.id == id {
			if c.deleted {
				return nil, fmt.Errorf("blob %v: %w", id, ErrNotFound)
			}
			return c, nil
		}
	}
	b, err := p.store.lookup(id)
	if err != nil {
		return nil, err
	}
	if id == p.store.journalID || b.st.flags.mdReadOnly() || b.st.flags.dataReadOnly() {
		return nil, fmt.Errorf("blob %v: %w", id, ErrReadOnly)
	}
	p.work = append(p.work, newChange(b))
	return &p.work[len(p.work)-1], nil
}

// resize turns the wish for a size into an operation; ok is false if there is nothing to do.
func (p *plan) resize(c *change, want int64, op *journalOp) (ok bool, err error) {
	have := c.st.clusters()
	switch {
	case want == have:
		return false, nil
	case want < have:
		op.kind, op.clusters = opTruncate, uint32(want)
		return true, nil
	}
	goal := clusterIndex(0)
	if n := len(c.st.extents); n > 0 {
		last := c.st.extents[n-1]
		goal = last.start + clusterIndex(last.count)
	}
	runs, ok := p.store.space.alloc(want-have, goal)
	if !ok {
		return false, fmt.Errorf("blob %v: %d more clusters: %w, %d are", c.st.id, want-have, errClusters, p.store.space.free())
	}
	p.taken = append(p.taken, runs...)
	op.kind, op.runs = opExtend, runs
	return true, nil
}

// checkPages makes sure that the next checkpoint will find md pages for every chain.
func (p *plan) checkPages() error {
	delta := 0
	for i := range p.work {
		c := &p.work[i]
		held := 1
		if c.blob != nil {
			held = c.blob.held()
			delta -= c.blob.owed()
		}
		if !c.deleted {
			delta += max(0, c.need-held)
		}
	}
	if used := p.store.pages.count() + p.store.owed + delta; delta > 0 && used > p.store.pages.len() {
		return fmt.Errorf("%w: %d metadata pages needed, %d exist", ErrNoSpace, used, p.store.pages.len())
	}
	return nil
}

// undo gives back what make took.
func (p *plan) undo() {
	p.store.space.put(p.taken)
	for i := range p.work {
		p.work[i] = change{}
	}
}

// ringSlack is how many ring blocks stay free for what cannot wait for a checkpoint: the setting back of a vouched change
// whose data failed.
const ringSlack = 4

// admit reports whether the journal has room for the transaction. If not, it waits until something has changed: the
// caller then plans again, since mu was let go.
func (p *plan) admit() (ready bool, err error) {
	s := p.store
	cost := p.cost()
	if limit := s.dirtyLimit(); cost > limit {
		return false, fmt.Errorf("%w: %d metadata pages change, at most %d", ErrTooLarge, cost, limit)
	}
	if !s.j.fits(len(p.rec)) {
		return false, s.flushPending()
	}
	if s.j.used()+frameBlocks(len(p.rec))+ringSlack > s.j.geo.ring || s.dirtyCost+s.inflightCost+cost > s.dirtyLimit() {
		s.starved++
		s.askCheckpoint()
		s.changed.Wait()
		s.starved--
		return false, nil
	}
	if bare := s.space.unbacked(p.taken); len(bare) > 0 {
		return false, s.back(bare)
	}
	return true, nil
}

// flushPending writes the pending frame to make room for records. The caller holds mu, which is let go meanwhile.
func (s *Store) flushPending() error {
	s.mu.Unlock()
	defer s.mu.Lock()
	return s.writeUpTo(0)
}

// cost is by how much the transaction raises the number of md pages that the next checkpoint writes.
func (p *plan) cost() int {
	n := 0
	for i := range p.work {
		c := &p.work[i]
		n += p.store.dirtyDelta(c)
	}
	return n
}

// apply makes the transaction visible and queues its record.
func (p *plan) apply() LSN {
	s := p.store
	lsn := s.j.add(p.rec)
	for i := range p.work {
		c := &p.work[i]
		uses := s.install(c)
		s.space.giveUp(lsn, c.freed, uses)
		if c.voucher != nil {
			s.vouchers = append(s.vouchers, newVoucher(lsn, c))
			s.toVerify.add(lsn, c.voucher.vouch.Length)
		}
	}
	if s.needsCheckpoint() {
		s.askCheckpoint()
	}
	return lsn
}

// install publishes what a blob has become and returns the counts of I/O that its freed clusters wait for.
func (s *Store) install(c *change) (uses []*useCount) {
	s.markDirty(c)
	b := c.blob
	if c.created {
		s.installNew(c)
		return nil
	}
	s.owed -= b.owed()
	if c.deleted {
		s.blobs.remove(b.id)
		s.freePages(b.st)
		old := b.ext.Load()
		b.ext.Store(nil) // first: who acquires the map from now on sees that it is gone
		return b.retire(old)
	}
	b.st, b.need = c.st, c.need
	s.owed += b.owed()
	if c.remap {
		uses = b.remap(c.st, len(c.freed) > 0)
	}
	return uses
}

// installNew publishes a blob that the transaction has made, unless it has deleted it again: then only its id comes back.
func (s *Store) installNew(c *change) {
	root := int(c.st.id.page())
	if c.deleted {
		s.pages.clear(root)
		return
	}
	b := newBlob(s, c.st)
	s.blobs.put(b.id, b)
	s.pages.set(root)
	s.owed += b.owed()
}

// freePages clears the md pages of a blob that is gone.
func (s *Store) freePages(st *blobState) {
	s.pages.clear(int(st.id.page()))
	for p := range st.allPages() {
		s.pages.clear(int(p))
	}
}
