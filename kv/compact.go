package kv

import (
	"bytes"
	"context"
	"slices"
)

// keyRange is a range of keys, both ends included.
type keyRange struct{ first, last []byte }

// Compact rewrites the tables between two keys (nil: from the first, to the last) into the deepest level: what was
// overwritten or deleted is dropped and its space is free afterwards. Compactions run by themselves; this is for after
// a large delete. It may take long; everything else goes on meanwhile. Where space is short the range is compacted
// piece by piece.
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
	pieces, err := db.pieces(lower, upper)
	if err != nil {
		return wrap(err)
	}
	for _, p := range pieces {
		if err := db.compactPiece(p); err != nil {
			return wrap(err)
		}
	}
	return nil
}

// compactPiece compacts one range. The engine wants the ends to differ.
func (db *DB) compactPiece(p keyRange) error {
	last := p.last
	if bytes.Compare(p.first, last) >= 0 {
		last = append(slices.Clone(p.first), 0)
	}
	return db.engine.Compact(context.Background(), p.first, last, true)
}

// pieces divides the range at the tables' bounds if compacting it at once could need more space than there is: a
// compaction keeps its inputs until it is done.
func (db *DB) pieces(lower, upper []byte) ([]keyRange, error) {
	tables, size, err := db.tableRanges(lower, upper)
	if err != nil || len(tables) == 0 {
		return nil, err
	}
	all := keyRange{first: tables[0].first}
	for _, t := range tables {
		all.last = later(all.last, t.last)
	}
	if lower != nil {
		all.first = later(all.first, lower)
	}
	if upper != nil && bytes.Compare(upper, all.last) < 0 {
		all.last = upper
	}
	if db.space.roomForTables() > size {
		return []keyRange{all}, nil
	}
	return divide(all, tables), nil
}

// tableRanges returns the key ranges of the tables between lower and upper by their first key, and their size in bytes.
func (db *DB) tableRanges(lower, upper []byte) ([]keyRange, int64, error) {
	levels, err := db.engine.SSTables()
	if err != nil {
		return nil, 0, err
	}
	var ranges []keyRange
	var size int64
	for _, level := range levels {
		for i := range level {
			r := keyRange{level[i].Smallest.UserKey, level[i].Largest.UserKey}
			if r.outside(lower, upper) {
				continue
			}
			ranges = append(ranges, r)
			size += int64(level[i].Size)
		}
	}
	slices.SortFunc(ranges, func(a, b keyRange) int { return bytes.Compare(a.first, b.first) })
	return ranges, size, nil
}

// outside reports that no key of r is between lower and upper, either of which may be nil.
func (r keyRange) outside(lower, upper []byte) bool {
	return (lower != nil && bytes.Compare(r.last, lower) < 0) ||
		(upper != nil && bytes.Compare(r.first, upper) > 0)
}

// divide cuts all at the first key of each table.
func divide(all keyRange, tables []keyRange) []keyRange {
	var out []keyRange
	from := all.first
	for _, t := range tables {
		if bytes.Compare(t.first, from) > 0 && bytes.Compare(t.first, all.last) < 0 {
			out = append(out, keyRange{from, t.first})
			from = t.first
		}
	}
	return append(out, keyRange{from, all.last})
}

func later(a, b []byte) []byte {
	if bytes.Compare(a, b) >= 0 {
		return a
	}
	return b
}
