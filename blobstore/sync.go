package blobstore

import (
	"fmt"
	"slices"
)

// voucher is a vouched change whose record is not confirmed.
type voucher struct {
	lsn   LSN
	id    BlobID
	name  string
	value []byte // as set
	old   []byte // before
	had   bool
	done  bool // its data writes have completed, or failed and the change was set back
}

func newVoucher(lsn LSN, c *change) *voucher {
	op := c.voucher
	return &voucher{lsn: lsn, id: op.id, name: op.name, value: op.value, old: c.old, had: c.had}
}

// Sync returns once every transaction up to lsn is durable. It costs nothing if that is already so.
func (s *Store) Sync(lsn LSN) error {
	if s.DurableLSN() >= lsn {
		return nil
	}
	if err := s.startSync(lsn); err != nil {
		return err
	}
	if err := s.writeUpTo(lsn); err != nil {
		return err
	}
	return s.flush()
}

// startSync is the error of a sync that cannot be carried out.
func (s *Store) startSync(lsn LSN) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if last := s.lastLocked(); lsn > last {
		return fmt.Errorf("%s: %w: sync of transaction %d, the newest is %d", s.dev.Name(), ErrInvalid, lsn, last)
	}
	return nil
}

// SyncData makes the writes durable that ios carry (they may still be in flight) and every write that completed before
// the call: it waits for ios and shares one device flush with all who ask at the same time. It appends nothing to the
// journal.
func (s *Store) SyncData(ios ...*IO) error {
	err := waitAll(ios)
	if err == nil {
		err = s.startSync(0)
	}
	if err != nil {
		return err
	}
	return s.flush()
}

func waitAll(ios []*IO) error {
	var first error
	for _, io := range ios {
		if err := io.Wait(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// SyncVouched makes durable transaction lsn (committed with SetXattrVouched) together with the data writes ios that its
// voucher covers: the journal append and the data go out at once, under one flush. If a data write fails the store
// itself sets the xattr back and the error is returned. All of ios are finished when it returns.
func (s *Store) SyncVouched(lsn LSN, ios ...*IO) error {
	err := s.startSync(lsn)
	if err == nil {
		err = s.writeUpTo(lsn)
	}
	dataErr := waitAll(ios)
	s.dataDone(lsn, dataErr)
	if dataErr != nil {
		return dataErr
	}
	if err == nil {
		err = s.flush()
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // which may have given up the change while its data was under way
		return ErrClosed
	}
	return nil
}

// dataDone says that the data a voucher covers has been written, or sets the change back if that failed.
func (s *Store) dataDone(lsn LSN, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.vouchers, func(v *voucher) bool { return v.lsn == lsn && !v.done })
	if i < 0 {
		return
	}
	v := s.vouchers[i]
	if err != nil {
		s.setBack(v)
	}
	v.done = true
	s.changed.Broadcast()
}

// setBack undoes a vouched change whose data could not be written, unless a later transaction has changed the attribute
// again. It is a transaction of its own, in the same hold of mu that ends the voucher: a frame that carries the
// voucher's confirmation can only come after it. While the store is being closed it still works: the last checkpoint
// waits for it. The caller holds mu, which is let go while a full frame is written.
func (s *Store) setBack(v *voucher) {
	for s.Err() == nil {
		b := s.blobs.get(v.id)
		if b == nil {
			break
		}
		if now, ok := b.st.xattrs.get(v.name); !ok || !sameSlice(now, v.value) {
			break
		}
		if s.setBackIn(b, v) {
			break
		}
		_ = s.flushPending() // its error is the store's
	}
	// Whoever took the state of an earlier transaction took what is not there.
	s.setBackLSN = s.lastLocked()
}

// setBackIn commits the setting back of v in its blob; false means that the pending frame is full.
func (s *Store) setBackIn(b *Blob, v *voucher) bool {
	op := journalOp{kind: opSetXattr, id: v.id, name: v.name, value: v.old}
	if !v.had {
		op = journalOp{kind: opRemoveXattr, id: v.id, name: v.name}
	}
	rec := appendRecord(nil, []journalOp{op})
	if !s.j.fits(len(rec)) {
		return false
	}
	if s.j.used()+frameBlocks(len(rec)) > s.j.geo.ring { // a checkpoint cannot help: it waits for v
		_ = s.fail(fmt.Errorf("%s: no room in the journal to set back %q of blob %v", s.dev.Name(), v.name, v.id))
		return true
	}
	c := newChange(b)
	c.apply(&op)
	c.need = pagesNeeded(c.st)
	s.j.add(rec)
	s.install(&c)
	return true
}

// sameSlice reports whether both are the same memory, or both empty.
func sameSlice(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Confirm returns once the confirmation of transaction lsn is itself durable, so that the bytes it vouched for may be
// overwritten. It costs nothing if that is already so, an append and a flush at most. Whoever
// committed lsn has called SyncVouched for it.
func (s *Store) Confirm(lsn LSN) error {
	if err := s.startSync(lsn); err != nil {
		return err
	}
	for {
		ok, confirmed, err := s.confirmState(lsn)
		if ok || err != nil {
			return err
		}
		if confirmed {
			err = s.writeCarrier(lsn)
		} else {
			err = s.writeUpTo(lsn)
		}
		if err == nil {
			err = s.flush()
		}
		if err != nil {
			return err
		}
	}
}

// confirmState reports whether the confirmation of lsn is durable, or whether lsn is at least confirmed. It waits for
// data writes of earlier vouchers that are under way.
func (s *Store) confirmState(lsn LSN) (durable, confirmed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.durableConfirmed >= lsn {
			return true, true, nil
		}
		if err := s.writable(); err != nil {
			return false, false, err
		}
		if s.confirmed >= lsn {
			return false, true, nil
		}
		if !s.waitsForData(lsn) {
			return false, false, nil
		}
		s.changed.Wait()
	}
}

// waitsForData reports whether a voucher up to lsn has data writes under way.
func (s *Store) waitsForData(lsn LSN) bool {
	for _, v := range s.vouchers {
		if v.lsn > lsn {
			return false
		}
		if !v.done {
			return true
		}
	}
	return false
}

// writeCarrier appends a frame that carries the confirmation of lsn, unless one has been written. If the ring has no room
// it waits for a change instead: the checkpoint that makes room confirms lsn too.
func (s *Store) writeCarrier(lsn LSN) error {
	s.j.writing.Lock()
	s.mu.Lock()
	switch {
	case s.j.carried >= lsn:
	case s.j.used()+1+ringSlack > s.j.geo.ring:
		s.j.writing.Unlock()
		s.askCheckpoint()
		s.changed.Wait()
		s.mu.Unlock()
		return nil
	default:
		s.mu.Unlock()
		err := s.appendFrame()
		s.j.writing.Unlock()
		return err
	}
	s.mu.Unlock()
	s.j.writing.Unlock()
	return nil
}

// writeUpTo has every record up to lsn written to the ring; 0 stands for those that are pending now.
func (s *Store) writeUpTo(lsn LSN) error {
	s.j.writing.Lock()
	defer s.j.writing.Unlock()
	s.mu.Lock()
	empty := s.j.pending.records == 0
	written := lsn != 0 && s.j.written >= lsn
	err := s.Err()
	s.mu.Unlock()
	if empty || written || err != nil {
		return err
	}
	return s.appendFrame()
}

// sealedFrame is a frame that has its place in the ring and must be written before anything else is appended.
type sealedFrame struct {
	bytes  []byte
	header frameHeader
	last   LSN
}

// sealFrame takes the pending records, which may be none. The caller holds j.writing and mu.
func (s *Store) sealFrame() sealedFrame {
	b, h, sealed := s.j.seal(s.confirmed, s.durableSequence)
	return sealedFrame{b, h, sealed.last}
}

// writeFrame stores a sealed frame. The caller has held j.writing since it was sealed, and nothing else.
func (s *Store) writeFrame(f *sealedFrame) error {
	err := s.j.file.writeRing(f.bytes, f.header.position)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return s.fail(err)
	}
	s.j.written, s.j.carried = f.last, f.header.confirmed
	s.writtenSequence = f.header.sequence
	s.changed.Broadcast()
	return nil
}

// appendFrame writes the pending records, or an empty frame, to the ring. The caller holds j.writing and nothing else.
func (s *Store) appendFrame() error {
	s.mu.Lock()
	if err := s.Err(); err != nil {
		s.mu.Unlock()
		return err
	}
	f := s.sealFrame()
	s.mu.Unlock()
	return s.writeFrame(&f)
}

// flushPoint is what a flush that is submitted now covers.
type flushPoint struct {
	written   LSN
	sequence  uint64
	confirmed LSN // vouchers up to here have record and data written
	carried   LSN
}

// flush makes everything durable that has been written. The device shares one flush between all who ask at the same
// time: everyone is served by one that starts after the point was taken. A failed flush is not repeated.
func (s *Store) flush() error {
	s.mu.Lock()
	p := s.flushPoint()
	s.mu.Unlock()
	err := s.flushDevice()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return s.fail(fmt.Errorf("%s: flush: %w", s.dev.Name(), err))
	}
	if err := s.Err(); err != nil {
		return err
	}
	s.flushed(p)
	return nil
}

// flushDevice is a flush of the device that counts only if none has failed since the store was opened: one that did may
// have dropped what this one was to make durable.
func (s *Store) flushDevice() error {
	if err := s.dev.Flush(); err != nil {
		return err
	}
	if n, err := s.dev.FlushFailures(); n != s.flushFailures {
		return fmt.Errorf("an earlier one failed: %w", err)
	}
	return nil
}

func (s *Store) flushPoint() flushPoint {
	if s.j == nil {
		return flushPoint{}
	}
	p := flushPoint{written: s.j.written, sequence: s.writtenSequence, confirmed: s.j.written, carried: s.j.carried}
	for _, v := range s.vouchers {
		if !v.done {
			p.confirmed = min(p.confirmed, v.lsn-1)
			break
		}
	}
	return p
}

// confirmedDurably notes that recovery will find vouchers up to lsn confirmed. The caller holds mu.
func (s *Store) confirmedDurably(lsn LSN) {
	s.durableConfirmed = max(s.durableConfirmed, lsn)
	s.toVerify.drop(s.durableConfirmed)
}

// flushed takes note of a completed flush. The caller holds mu.
func (s *Store) flushed(p flushPoint) {
	s.durable.Store(max(s.durable.Load(), uint64(p.written)))
	s.durableSequence = max(s.durableSequence, p.sequence)
	s.confirmedDurably(p.carried)
	if p.confirmed > s.confirmed {
		s.confirmed = p.confirmed
		s.vouchers = slices.DeleteFunc(s.vouchers, func(v *voucher) bool { return v.done && v.lsn <= p.confirmed })
	}
	if len(s.space.pending) > 0 && s.space.settle(s.DurableLSN()) {
		s.changed.Broadcast()
		if s.space.sparse {
			s.kick()
		}
	}
}
