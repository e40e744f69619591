package blobstore

import (
	"fmt"
	"slices"

	"github.com/blobkv/blobkv/bdev"
)

// redo applies the journal's transactions to a store that is being mounted. Every record applies exactly once: the
// state they start from is that of the checkpoint they follow.
type redo struct {
	store   *Store
	records int
	recover bool // bytes that cannot be read count as not there
	work    []change
}

func (r *redo) frame(*frameHeader, int64) error { return nil }

// record applies one transaction. Operations on a blob that is damaged or refused are lost with it; its bad entry
// says so. Nothing else is skipped but a vouched change whose bytes are not on the device.
func (r *redo) record(rec record, confirmed bool) error {
	r.work = r.work[:0]
	r.records++
	vouched := -1
	for i := range rec.ops {
		op := &rec.ops[i]
		if op.kind == opSetVouched && !confirmed {
			vouched = i
			continue
		}
		c := r.change(op)
		if c == nil { // an extension of a damaged blob is still its own
			r.store.keep(op.runs)
			continue
		}
		r.claim(c, op)
		c.apply(op)
	}
	if vouched >= 0 {
		if err := r.vouched(&rec.ops[vouched]); err != nil {
			return fmt.Errorf("%s: transaction %d: %w", r.store.dev.Name(), rec.lsn, err)
		}
	}
	for i := range r.work {
		c := &r.work[i]
		c.need = pagesNeeded(c.st)
		r.store.install(c)
		r.store.space.put(c.freed)
	}
	return nil
}

// change finds the blob of an operation; nil if there is none to change.
func (r *redo) change(op *journalOp) *change {
	for i := range r.work {
		if c := &r.work[i]; c.st.id == op.id && !c.deleted {
			return c
		}
	}
	b := r.store.blobs.get(op.id)
	if op.kind == opCreate {
		delete(r.store.bad, op.id)
		if b == nil {
			r.takePage(op.id.page())
			r.work = append(r.work, createdChange(op.id))
			return &r.work[len(r.work)-1]
		}
	}
	if b == nil || b.st.refused != nil || op.kind == opCreate {
		r.damaged(op, b)
		return nil
	}
	r.work = append(r.work, newChange(b))
	return &r.work[len(r.work)-1]
}

// damaged isolates a blob that does not look as the journal says.
func (r *redo) damaged(op *journalOp, b *Blob) {
	s := r.store
	if s.bad[op.id] != nil || b != nil && b.st.refused != nil {
		return
	}
	got := "no blob there"
	if b != nil {
		got = "a blob that exists"
	}
	s.bad[op.id] = corruptAt(s.dev, s.super.pageOffset(op.id.page()), fmt.Sprintf("blob %v", op.id),
		fmt.Sprintf("what the journal's %q applies to", op.kind), got)
	s.blobs.remove(op.id)
}

// takePage makes md page p free to be a root: it may have been a chain or extent page of a blob that the checkpoint
// which was cut short had moved away from it.
func (r *redo) takePage(p pageIndex) {
	s := r.store
	if !s.pages.test(int(p)) {
		return
	}
	for _, b := range s.blobs.all() {
		if slices.Index(b.st.pages, p) > 0 || slices.Contains(b.st.extentPages, p) {
			r.losePage(b, p)
			return
		}
	}
}

// losePage takes md page p from a blob, which is written anew at the next checkpoint.
func (r *redo) losePage(b *Blob, p pageIndex) {
	s := r.store
	c := newChange(b)
	c.need = b.need
	s.markDirty(&c)
	s.owed -= b.owed()
	lost := func(q pageIndex) bool { return q == p }
	c.st.pages = slices.DeleteFunc(slices.Clone(b.st.pages), lost)
	c.st.extentPages = slices.DeleteFunc(slices.Clone(b.st.extentPages), lost)
	b.st = c.st
	s.owed += b.owed()
}

// claim marks the clusters that an extension takes. Which transaction may have them was decided at commit.
func (r *redo) claim(c *change, op *journalOp) {
	s := r.store
	if e := s.keep(op.runs); e.count != 0 {
		c.st.refused = corruptAt(s.dev, s.super.pageOffset(op.id.page()), fmt.Sprintf("blob %v: extent", op.id),
			fmt.Sprintf("clusters %d to %d", s.super.mdClusters(), s.super.clusters()-1), e.String())
		op.runs = nil
	}
}

// keep marks clusters as used and returns the first run that lies outside the data area, if any.
func (s *Store) keep(runs []extent) (outside extent) {
	first, end := uint64(s.super.mdClusters()), uint64(s.super.clusters())
	for _, e := range runs {
		if uint64(e.start) < first || uint64(e.start)+uint64(e.count) > end {
			return e
		}
		s.space.used.setRange(int(e.start), int(e.count))
	}
	return extent{}
}

// vouched applies a vouched change that is not confirmed, if its bytes are on the device. If they cannot be read nobody can
// tell: a store that is opened to read goes without the blob, one that is opened for writing is left alone, because its
// next checkpoint would decide.
func (r *redo) vouched(op *journalOp) error {
	c := r.change(op)
	if c == nil {
		return nil
	}
	ok, err := r.store.vouchHolds(c.st, op.vouch)
	if err != nil && r.store.readOnly {
		c.st.refused = err
		return nil
	}
	if err != nil && !r.recover {
		return fmt.Errorf("%w; open it read-only, or ask for recovery to do without this change", err)
	}
	if ok {
		c.apply(op)
	}
	return nil
}

// vouchHolds reports whether the bytes are there, read through the blob's extents in state st.
func (s *Store) vouchHolds(st *blobState, v Vouch) (bool, error) {
	m := newExtentMap(&s.super, st.extents, nil)
	end := v.Offset + v.Length
	if end > m.size {
		return false, nil
	}
	buf := s.mem.Get(copySize)
	defer s.mem.Put(buf)
	var sum Checksum
	for at := v.Offset; at < end; {
		first := at / BlockSize * BlockSize
		last := min((end+BlockSize-1)/BlockSize*BlockSize, first+int64(len(buf)))
		b := buf[:last-first]
		pos := int64(0)
		err := m.each(first, last-first, func(dev, n int64) error {
			part := b[pos : pos+n]
			pos += n
			return doRetry(s.dev, bdev.OpRead, part, dev, 0)
		})
		if err != nil {
			return false, fmt.Errorf("verifying %d bytes of blob %v at %d: %w", v.Length, st.id, v.Offset, err)
		}
		stop := min(end, last)
		sum.Add(b[at-first : stop-first])
		at = stop
	}
	return sum.Sum() == v.Sum, nil
}
