package kv

import (
	"github.com/cockroachdb/pebble/v2"
)

// Snapshot is the store as it was when NewSnapshot was called. It costs nothing but the space of what is overwritten
// or deleted meanwhile. Safe for any goroutine; Close it before the store.
type Snapshot struct {
	db   *DB
	s    *pebble.Snapshot
	gate gate
}

// NewSnapshot makes a snapshot.
func (db *DB) NewSnapshot() (*Snapshot, error) {
	s, ok := db.gate.enter()
	if !ok {
		return nil, ErrClosed
	}
	defer db.gate.leave(s)
	db.handles.Add(1)
	return &Snapshot{db: db, s: db.engine.NewSnapshot()}, nil
}

// Get is DB.Get at the time of the snapshot.
func (sn *Snapshot) Get(key []byte) ([]byte, error) { return sn.GetAppend(nil, key) }

// GetAppend is DB.GetAppend at the time of the snapshot.
func (sn *Snapshot) GetAppend(dst, key []byte) ([]byte, error) {
	s, ok := sn.gate.enter()
	if !ok {
		return dst, ErrClosed
	}
	defer sn.gate.leave(s)
	return getAppend(sn.db, sn.s, dst, key)
}

// View is DB.View at the time of the snapshot.
func (sn *Snapshot) View(key []byte, fn func(value []byte) error) error {
	s, ok := sn.gate.enter()
	if !ok {
		return ErrClosed
	}
	defer sn.gate.leave(s)
	return view(sn.db, sn.s, key, fn)
}

// Has is DB.Has at the time of the snapshot.
func (sn *Snapshot) Has(key []byte) (bool, error) {
	return found(sn.View(key, ignoreValue))
}

// NewIterator is DB.NewIterator at the time of the snapshot. The iterator may outlive the snapshot.
func (sn *Snapshot) NewIterator(o *IterOptions) (*Iterator, error) {
	s, ok := sn.gate.enter()
	if !ok {
		return nil, ErrClosed
	}
	defer sn.gate.leave(s)
	return newIterator(sn.db, sn.s, o)
}

// Close releases the snapshot. More than once does nothing.
func (sn *Snapshot) Close() error {
	if !sn.gate.close() {
		return nil
	}
	defer sn.db.handles.Add(-1)
	return wrap(sn.s.Close())
}
