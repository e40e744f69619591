package kv

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Limits of one write, in bytes.
const (
	MaxKeySize   = 64 << 20
	MaxValueSize = 1 << 30
	MaxBatchSize = 2 << 30
)

// batchOverhead bounds what the engine adds to one change in a batch, in bytes: kind and two lengths.
const batchOverhead = 1 + 2*5

// WriteOption changes how one write is done. The default is to sync.
type WriteOption uint8

const (
	// Sync returns when the change is durable. It is the default.
	Sync WriteOption = iota
	// NoSync returns when the change is visible; a crash may lose it. See the package documentation.
	NoSync
)

// pebbleWriteOptions is the engine's form of opts; the last one wins.
func pebbleWriteOptions(opts []WriteOption) *pebble.WriteOptions {
	if len(opts) > 0 && opts[len(opts)-1] == NoSync {
		return pebble.NoSync
	}
	return pebble.Sync
}

// Set stores a value under a key, which must not be empty, replacing what was there. It is durable on return unless NoSync is passed. ErrNoSpace
// if less than the reserve is free, after up to ten seconds if a compaction runs that may free some; ErrStalled while
// compactions fail.
func (db *DB) Set(key, value []byte, opts ...WriteOption) error {
	if err := checkKey(key, value); err != nil {
		return err
	}
	s, ok := db.gate.enter()
	if !ok {
		return ErrClosed
	}
	defer db.gate.leave(s)
	n := len(key) + len(value)
	if err := db.admit(n, false); err != nil {
		return err
	}
	defer db.admitted(n)
	return wrap(db.engine.Set(key, value, pebbleWriteOptions(opts)))
}

// Delete removes a key; it is no error if it is not there. Durable on return unless NoSync is passed. It waits and fails
// like Set, but has more of the space.
func (db *DB) Delete(key []byte, opts ...WriteOption) error {
	if err := checkKey(key, nil); err != nil {
		return err
	}
	s, ok := db.gate.enter()
	if !ok {
		return ErrClosed
	}
	defer db.gate.leave(s)
	if err := db.admit(len(key), true); err != nil {
		return err
	}
	defer db.admitted(len(key))
	return wrap(db.engine.Delete(key, pebbleWriteOptions(opts)))
}

// DeleteRange removes every key from start up to, but not including, end. It costs the same for one key and for a
// billion. Durable on return unless NoSync is passed.
func (db *DB) DeleteRange(start, end []byte, opts ...WriteOption) error {
	if err := checkSizes(start, end); err != nil {
		return err
	}
	s, ok := db.gate.enter()
	if !ok {
		return ErrClosed
	}
	defer db.gate.leave(s)
	if bytes.Compare(start, end) >= 0 {
		return nil // an empty range
	}
	n := len(start) + len(end)
	if err := db.admit(n, true); err != nil {
		return err
	}
	defer db.admitted(n)
	return wrap(db.engine.DeleteRange(start, end, pebbleWriteOptions(opts)))
}

// admit answers ErrReadOnly and ErrNoSpace before the engine sees a change of n bytes. deletes says that it frees space.
func (db *DB) admit(n int, deletes bool) error {
	if db.opts.ReadOnly {
		return ErrReadOnly
	}
	return db.space.admit(int64(n)+batchOverhead, deletes)
}

// admitted ends a change that admit has let in.
func (db *DB) admitted(n int) { db.space.done(int64(n) + batchOverhead) }

// checkKey refuses what must not reach the engine: it panics when it flushes an empty key that has a block of a table for itself,
// and at every Open from then on.
func checkKey(key, value []byte) error {
	if len(key) == 0 {
		return ErrEmptyKey
	}
	return checkSizes(key, value)
}

func checkSizes(key, value []byte) error {
	if len(key) > MaxKeySize {
		return fmt.Errorf("%w: a key of %d bytes; the limit is %d", ErrTooLarge, len(key), MaxKeySize)
	}
	if len(value) > MaxValueSize {
		return fmt.Errorf("%w: a value of %d bytes; the limit is %d", ErrTooLarge, len(value), MaxValueSize)
	}
	return nil
}
