package kv

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Compact rewrites the tables between two keys (nil: from the first, to the last) into the deepest level: what was
// overwritten or deleted is dropped and its space is free afterwards. Compactions run by themselves; this is for after
// a large delete. It may take long; everything else goes on meanwhile. Where space is short the range is compacted
// table by table, and ErrNoSpace means that there was not room enough for any that is left.
func (db *DB) Compact(lower, upper []byte) error {
	s, ok := db.gate.enter()
	if !ok {
		return ErrClosed
	}
	defer db.gate.leave(s)
	if db.opts.ReadOnly {
		return ErrReadOnly
	}
	if err := db.flush(); err != nil {
		return err
	}
	tables, err := db.tablesBetween(lower, upper)
	if err != nil || len(tables) == 0 {
		return wrap(err)
	}
	if size := sizeOf(tables); db.space.roomForTables() > size {
		first, last := boundsOf(tables)
		if lower != nil {
			first = later(first, lower)
		}
		if upper != nil && bytes.Compare(upper, last) < 0 {
			last = upper
		}
		return wrap(db.compactKeys(first, last))
	}
	return wrap(db.compactByTable(lower, upper))
}

// table is where a table lies in the tree and what it takes.
type table struct {
	level       int
	number      uint64
	first, last []byte // both included
	size        int64  // bytes
}

// compactKeys compacts a range of keys, ends included. The engine wants the ends to differ.
func (db *DB) compactKeys(first, last []byte) error {
	if bytes.Compare(first, last) >= 0 {
		last = append(slices.Clone(first), 0)
	}
	return db.engine.Compact(context.Background(), first, last, true)
}

// compactByTable sinks the tables above the deepest level one after the other: a compaction keeps its inputs until it is
// done, and one table with those it overlaps is what the reserve has room for. A table for which there was no room is
// tried again when others have given some back.
func (db *DB) compactByTable(lower, upper []byte) error {
	failed := make(map[uint64]error) // by table number, since the last one that succeeded
	for limit := maxSteps; limit > 0; limit-- {
		t, err := db.highest(lower, upper, failed)
		if err != nil {
			return err
		}
		if t == nil {
			break
		}
		switch err := db.compactKeys(t.first, t.first); {
		case err == nil:
			clear(failed)
		case errors.Is(wrap(err), ErrNoSpace):
			failed[t.number] = err
		default:
			return err
		}
	}
	for _, err := range failed {
		return err
	}
	return nil
}

// maxSteps ends a Compact that writers feed as fast as it works.
const maxSteps = 100000

// highest returns the first table of the highest level between two keys but for the deepest one, or nil.
func (db *DB) highest(lower, upper []byte, without map[uint64]error) (*table, error) {
	tables, err := db.tablesBetween(lower, upper)
	if err != nil {
		return nil, err
	}
	deepest := 0
	for _, t := range tables {
		deepest = max(deepest, t.level)
	}
	for i, t := range tables {
		if _, ok := without[t.number]; !ok && (t.level < deepest || t.level == 0) {
			return &tables[i], nil
		}
	}
	return nil, nil
}

// tablesBetween returns the tables that may hold keys from lower up to upper, by level and, within one, by first key.
func (db *DB) tablesBetween(lower, upper []byte) ([]table, error) {
	levels, err := db.engine.SSTables()
	if err != nil {
		return nil, err
	}
	var tables []table
	for n, level := range levels {
		for i := range level {
			if t := newTable(n, &level[i]); !t.outside(lower, upper) {
				tables = append(tables, t)
			}
		}
	}
	return tables, nil
}

func newTable(level int, info *pebble.SSTableInfo) table {
	return table{level, uint64(info.FileNum), info.Smallest.UserKey, info.Largest.UserKey, int64(info.Size)}
}

// outside reports that no key of t is between lower and upper, either of which may be nil.
func (t *table) outside(lower, upper []byte) bool {
	return (lower != nil && bytes.Compare(t.last, lower) < 0) ||
		(upper != nil && bytes.Compare(t.first, upper) > 0)
}

func sizeOf(tables []table) (n int64) {
	for _, t := range tables {
		n += t.size
	}
	return n
}

// boundsOf returns the lowest and the highest key of the tables.
func boundsOf(tables []table) (first, last []byte) {
	first, last = tables[0].first, tables[0].last
	for _, t := range tables[1:] {
		if bytes.Compare(t.first, first) < 0 {
			first = t.first
		}
		last = later(last, t.last)
	}
	return first, last
}

func later(a, b []byte) []byte {
	if bytes.Compare(a, b) >= 0 {
		return a
	}
	return b
}
