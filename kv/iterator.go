package kv

import (
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// IterOptions bound an iterator. Nil, or the zero value, is every key.
type IterOptions struct {
	LowerBound []byte // the first key that is seen
	UpperBound []byte // the first key that is not seen any more; nil: no bound
}

// Iterator walks the keys in ascending byte order, over the store as it was when the iterator was made. It starts
// nowhere: First, Last or a Seek comes first. An Iterator is for one goroutine at a time. Close it before the store.
//
//	it, err := db.NewIterator(nil)
//	…
//	for ok := it.First(); ok; ok = it.Next() {
//		use(it.Key(), it.Value())
//	}
//	err = it.Close()
type Iterator struct {
	db  *DB
	it  *pebble.Iterator // nil once closed
	err error            // of a value that could not be read
}

// NewIterator makes an iterator.
func (db *DB) NewIterator(o *IterOptions) (*Iterator, error) {
	s, ok := db.gate.enter()
	if !ok {
		return nil, ErrClosed
	}
	defer db.gate.leave(s)
	return newIterator(db, db.engine, o)
}

func newIterator(db *DB, r pebble.Reader, o *IterOptions) (*Iterator, error) {
	var po *pebble.IterOptions
	if o != nil {
		po = &pebble.IterOptions{LowerBound: o.LowerBound, UpperBound: o.UpperBound}
	}
	it, err := r.NewIter(po)
	if err != nil {
		return nil, wrap(db.placed(err))
	}
	db.handles.Add(1)
	return &Iterator{db: db, it: it}, nil
}

// First moves to the first key and reports whether there is one.
func (it *Iterator) First() bool { return it.it != nil && it.it.First() }

// Last moves to the last key and reports whether there is one.
func (it *Iterator) Last() bool { return it.it != nil && it.it.Last() }

// SeekGE moves to the first key that is not below key.
func (it *Iterator) SeekGE(key []byte) bool { return it.it != nil && it.it.SeekGE(key) }

// SeekLT moves to the last key below key.
func (it *Iterator) SeekLT(key []byte) bool { return it.it != nil && it.it.SeekLT(key) }

// Next moves to the next key; from before the first one to the first.
func (it *Iterator) Next() bool { return it.it != nil && it.it.Next() }

// Prev moves to the previous key; from behind the last one to the last.
func (it *Iterator) Prev() bool { return it.it != nil && it.it.Prev() }

// Valid reports whether the iterator is at a key.
func (it *Iterator) Valid() bool { return it.it != nil && it.it.Valid() }

// Key returns the key the iterator is at: valid until it moves, and not to be changed. Nil if it is at none.
func (it *Iterator) Key() []byte {
	if !it.Valid() {
		return nil
	}
	return it.it.Key()
}

// Value returns the value of the key the iterator is at: valid until it moves, and not to be changed. Nil if the
// iterator is at none, or if the value cannot be read, which Error then tells.
func (it *Iterator) Value() []byte {
	if !it.Valid() {
		return nil
	}
	v, err := it.it.ValueAndErr()
	if err != nil {
		it.err = err
		return nil
	}
	return v
}

// Error returns what has stopped the iterator, if not the end of the keys; ErrClosed once it is closed.
func (it *Iterator) Error() error {
	if it.err == nil && it.it == nil {
		return ErrClosed
	}
	if it.err == nil && it.it != nil {
		it.err = it.it.Error()
	}
	return wrap(it.db.placed(it.err))
}

// All is every key and value in ascending order, for a range loop; Error tells afterwards whether it was cut short. Both
// slices are valid until the next round of the loop.
func (it *Iterator) All() iter.Seq2[[]byte, []byte] { return it.seq(it.First, it.Next) }

// Backward is All in descending order.
func (it *Iterator) Backward() iter.Seq2[[]byte, []byte] { return it.seq(it.Last, it.Prev) }

func (it *Iterator) seq(start, step func() bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for ok := start(); ok; ok = step() {
			value := it.Value()
			if it.err != nil || !yield(it.Key(), value) {
				return
			}
		}
	}
}

// Close releases the iterator and returns Error. More than once does nothing more.
func (it *Iterator) Close() error {
	if it.it == nil {
		return wrap(it.db.placed(it.err))
	}
	err := it.it.Close()
	it.it = nil
	it.db.handles.Add(-1)
	if it.err == nil {
		it.err = err
	}
	return wrap(it.db.placed(it.err))
}
