package kv

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects changes that Commit applies as one: all of them or none, to readers and across a crash. Changes apply
// in the order in which they were added. A Batch is for one goroutine at a time; Close it when done with it.
type Batch struct {
	db   *DB
	b    *pebble.Batch // nil once closed; Commit empties it
	sets int           // changes that take space
}

// NewBatch makes an empty batch.
func (db *DB) NewBatch() *Batch { return &Batch{db: db, b: db.engine.NewBatch()} }

// Set adds a key and its value; both are copied.
func (b *Batch) Set(key, value []byte) error {
	if len(key) == 0 {
		return ErrEmptyKey
	}
	if err := b.room(key, value); err != nil {
		return err
	}
	b.sets++
	return wrap(b.b.Set(key, value, nil))
}

// Delete adds the removal of a key.
func (b *Batch) Delete(key []byte) error {
	if len(key) == 0 {
		return ErrEmptyKey
	}
	if err := b.room(key, nil); err != nil {
		return err
	}
	return wrap(b.b.Delete(key, nil))
}

// DeleteRange adds the removal of every key from start up to, but not including, end.
func (b *Batch) DeleteRange(start, end []byte) error {
	if err := b.room(start, end); err != nil {
		return err
	}
	if bytes.Compare(start, end) >= 0 {
		return nil // an empty range
	}
	return wrap(b.b.DeleteRange(start, end, nil))
}

// room checks that the batch is open and that one more change fits: the engine panics where this returns an error.
func (b *Batch) room(key, value []byte) error {
	if b.b == nil {
		return fmt.Errorf("%w: the batch was closed", ErrClosed)
	}
	if b.db.gate.closed.Load() {
		return ErrClosed
	}
	if err := checkSizes(key, value); err != nil {
		return err
	}
	if n := b.b.Len() + len(key) + len(value) + batchOverhead; n > MaxBatchSize {
		return fmt.Errorf("%w: a batch of %d bytes; the limit is %d", ErrTooLarge, n, MaxBatchSize)
	}
	return nil
}

// Count returns the number of changes.
func (b *Batch) Count() int {
	if b.b == nil {
		return 0
	}
	return int(b.b.Count())
}

// Size returns the number of bytes the changes take in the log.
func (b *Batch) Size() int {
	if b.b == nil {
		return 0
	}
	return b.b.Len()
}

// Commit applies the changes and is durable on return unless NoSync is passed. The batch is then empty, and ready for
// more. With ErrNoSpace, ErrStalled, ErrReadOnly or ErrClosed nothing has changed and the batch keeps its changes.
func (b *Batch) Commit(opts ...WriteOption) error {
	if b.b == nil {
		return fmt.Errorf("%w: the batch was closed", ErrClosed)
	}
	s, ok := b.db.gate.enter()
	if !ok {
		return ErrClosed
	}
	defer b.db.gate.leave(s)
	size := b.Size()
	if err := b.db.admit(size, b.sets == 0); err != nil {
		return err
	}
	defer b.db.admitted(size)
	if err := b.b.Commit(pebbleWriteOptions(opts)); err != nil {
		return wrap(err)
	}
	b.Reset()
	return nil
}

// Reset drops the changes.
func (b *Batch) Reset() {
	if b.b != nil {
		b.b.Reset()
		b.sets = 0
	}
}

// Close drops the changes and releases the batch. More than once does nothing.
func (b *Batch) Close() error {
	if b.b == nil {
		return nil
	}
	err := b.b.Close()
	b.b = nil
	return wrap(err)
}
