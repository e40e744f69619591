package blobstore

import (
	"errors"
	"fmt"
	"strings"
)

// Tx is one metadata transaction over any number of blobs: all of it or none, in memory and across a crash. Not for
// concurrent use. Nothing is visible before Commit. An error of an operation is reported by Commit.
type Tx struct {
	store   *Store
	plan    *plan // from the first operation to Commit or Abort
	steps   []step
	created []BlobID // ids that are reserved
	err     error    // first error of an operation
	done    bool
}

// step is one operation as the user asked for it. Its op has everything but what Commit decides.
type step struct {
	op     journalOp
	resize int64 // clusters, when op.kind is 0
}

// Begin starts a transaction.
func (s *Store) Begin() *Tx { return &Tx{store: s} }

// add appends an operation.
func (tx *Tx) add(s step) {
	if tx.plan == nil && !tx.done {
		tx.plan = planPool.Get().(*plan)
		tx.steps = tx.plan.steps
	}
	tx.steps = append(tx.steps, s)
}

// finish ends the transaction and gives its memory back.
func (tx *Tx) finish() {
	tx.done = true
	if tx.plan != nil {
		tx.plan.release(tx.steps)
	}
	tx.plan, tx.steps = nil, nil
}

// Create reserves the id of a new, empty blob; the blob exists after Commit. The id is 0 if there is none left or the
// store cannot be changed; Commit says so.
func (tx *Tx) Create() BlobID {
	id, err := tx.store.reserveID()
	if err != nil {
		tx.fail(err)
		return 0
	}
	tx.created = append(tx.created, id)
	tx.add(step{op: journalOp{kind: opCreate, id: id}})
	return id
}

// reserveID takes the lowest md page that is free.
func (s *Store) reserveID() (BlobID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return 0, err
	}
	if s.pages.count()+s.owed >= s.pages.len() {
		return 0, fmt.Errorf("%w: all %d metadata pages are used", ErrNoSpace, s.pages.len())
	}
	p := s.pages.nextClear(0)
	s.pages.set(p)
	return blobIDOf(pageIndex(p)), nil
}

// Delete removes a blob. Its clusters become free when the transaction is durable and the I/O on them is done.
func (tx *Tx) Delete(id BlobID) {
	tx.add(step{op: journalOp{kind: opDelete, id: id}})
}

// Resize grows or cuts a blob to a number of clusters. What a blob grows by has undefined content.
func (tx *Tx) Resize(id BlobID, clusters int64) {
	if clusters < 0 {
		tx.fail(fmt.Errorf("%w: size of %d clusters", ErrInvalid, clusters))
	}
	tx.add(step{op: journalOp{id: id}, resize: clusters})
}

// SetXattr sets an attribute. Name and value together take at most 4063 bytes.
func (tx *Tx) SetXattr(id BlobID, name string, value []byte) {
	tx.xattr(journalOp{kind: opSetXattr, id: id, name: name, value: append([]byte(nil), value...)})
}

// RemoveXattr removes an attribute; it is no error if there is none of that name.
func (tx *Tx) RemoveXattr(id BlobID, name string) {
	tx.xattr(journalOp{kind: opRemoveXattr, id: id, name: name})
}

// SetXattrVouched is SetXattr with a voucher: until the record is confirmed, recovery applies this one change only if
// the vouched bytes are on the device. At most one per transaction. After Commit the caller calls SyncVouched, and does
// not wait for another transaction before.
func (tx *Tx) SetXattrVouched(id BlobID, name string, value []byte, v Vouch) {
	if v.Offset < 0 || v.Length < 0 || v.Offset+v.Length < 0 {
		tx.fail(fmt.Errorf("%w: voucher for %d bytes at %d", ErrInvalid, v.Length, v.Offset))
	}
	for i := range tx.steps {
		if tx.steps[i].op.kind == opSetVouched {
			tx.fail(fmt.Errorf("%w: two vouchers in one transaction", ErrInvalid))
		}
	}
	tx.xattr(journalOp{kind: opSetVouched, id: id, name: name, value: append([]byte(nil), value...), vouch: v})
}

func (tx *Tx) xattr(op journalOp) {
	if err := checkXattr(op.name, op.value); err != nil {
		tx.fail(err)
	}
	if strings.HasPrefix(op.name, reservedXattrs) {
		tx.fail(fmt.Errorf("%w: xattr names with %q are the store's own", ErrInvalid, reservedXattrs))
	}
	tx.add(step{op: op})
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// Vouch says which bytes of the blob must be on the device: those whose checksum (see Checksum) is Sum.
type Vouch struct {
	Offset, Length int64 // bytes
	Sum            uint64
}

// Commit validates the whole transaction, allocates, applies it in memory and queues its record. It does no I/O on the
// caller unless the journal or the store is full, or a sparse image needs the host's space. On an error (ErrNoSpace,
// ErrNotFound, ErrUnsupportedBlob, ErrReadOnly, ErrInvalid, ErrTooLarge …) nothing has changed.
func (tx *Tx) Commit() (LSN, error) {
	s := tx.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if tx.done {
		return 0, fmt.Errorf("%w: the transaction is over", ErrInvalid)
	}
	defer tx.finish()
	lsn, err := tx.commit()
	if err != nil {
		tx.unreserve()
		return 0, fmt.Errorf("%s: transaction: %w", s.dev.Name(), err)
	}
	return lsn, nil
}

// commit plans again whenever it had to let go of mu. The caller holds mu.
func (tx *Tx) commit() (LSN, error) {
	if tx.err != nil {
		return 0, tx.err
	}
	if len(tx.steps) == 0 {
		return tx.store.lastLocked(), tx.store.writable()
	}
	for {
		if err := tx.store.writable(); err != nil {
			return 0, err
		}
		p := tx.plan
		p.reset(tx.store)
		err := p.make(tx.steps)
		ready := false
		if err == nil {
			ready, err = p.admit()
		}
		if ready {
			return p.apply(), nil
		}
		p.undo()
		if errors.Is(err, errClusters) && tx.store.reclaim() {
			continue
		}
		if err != nil {
			return 0, err
		}
	}
}

// Abort gives up a transaction that is not committed. It does nothing after Commit.
func (tx *Tx) Abort() {
	tx.store.mu.Lock()
	defer tx.store.mu.Unlock()
	if !tx.done {
		tx.finish()
		tx.unreserve()
	}
}

func (tx *Tx) unreserve() {
	for _, id := range tx.created {
		tx.store.pages.clear(int(id.page()))
	}
}
