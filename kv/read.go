package kv

import (
	"github.com/cockroachdb/pebble/v2"
)

// Reader is what a DB and a Snapshot have in common.
type Reader interface {
	Get(key []byte) ([]byte, error)
	GetAppend(dst, key []byte) ([]byte, error)
	View(key []byte, fn func(value []byte) error) error
	Has(key []byte) (bool, error)
	NewIterator(o *IterOptions) (*Iterator, error)
}

var (
	_ Reader = (*DB)(nil)
	_ Reader = (*Snapshot)(nil)
)

// Get returns a copy of the value of a key, the caller's to keep. ErrNotFound if there is none.
func (db *DB) Get(key []byte) ([]byte, error) { return db.GetAppend(nil, key) }

// GetAppend appends the value of a key to dst and returns it, so that a buffer can be used again. On an error dst is
// returned unchanged.
func (db *DB) GetAppend(dst, key []byte) ([]byte, error) {
	s, ok := db.gate.enter()
	if !ok {
		return dst, ErrClosed
	}
	defer db.gate.leave(s)
	return getAppend(db, db.engine, dst, key)
}

// View calls fn with the value of a key, without a copy: the slice is valid, and must not be changed, until fn returns.
// It returns ErrNotFound or fn's error. fn must not close the store.
func (db *DB) View(key []byte, fn func(value []byte) error) error {
	s, ok := db.gate.enter()
	if !ok {
		return ErrClosed
	}
	defer db.gate.leave(s)
	return view(db, db.engine, key, fn)
}

// Has reports whether a key is there.
func (db *DB) Has(key []byte) (bool, error) {
	return found(db.View(key, ignoreValue))
}

func ignoreValue([]byte) error { return nil }

// found turns the result of a View into that of a Has.
func found(err error) (bool, error) {
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

func getAppend(db *DB, r pebble.Reader, dst, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	if err != nil {
		return dst, wrap(db.placed(err))
	}
	if dst == nil {
		dst = make([]byte, 0, len(value)) // an empty value is not nil
	}
	dst = append(dst, value...)
	return dst, wrap(closer.Close())
}

func view(db *DB, r pebble.Reader, key []byte, fn func(value []byte) error) error {
	value, closer, err := r.Get(key)
	if err != nil {
		return wrap(db.placed(err))
	}
	defer closer.Close()
	return fn(value)
}
