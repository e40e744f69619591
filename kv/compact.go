package kv

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Compact rewrites the tables between two keys (nil: from the first, to the last) into the deepest level: what was
// overwritten or deleted is dropped and its space is free afterwards. Compactions run by themselves; this is for after
// a large delete. It may take long; everything else goes on meanwhile. Where space is short the range is compacted
// table by table, and ErrNoSpace means that there was not room enough for any that is left. When ctx or the store is
// done it returns the context's error, or ErrClosed, after the compactions that run; what is compacted by then stays so.
func (db *DB) Compact(ctx context.Context, lower, upper []byte) error {
	s, ok := db.gate.enter()
	if !ok {
		return ErrClosed
	}
	defer db.gate.leave(s)
	if db.opts.ReadOnly {
		return ErrReadOnly
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(db.ctx, func() { cancel(ErrClosed) })()
	if err := db.compact(ctx, lower, upper); err != nil {
		return wrap(db.placed(cmp.Or(context.Cause(ctx), err)))
	}
	return nil
}

func (db *DB) compact(ctx context.Context, lower, upper []byte) error {
	if err := db.flush(ctx); err != nil {
		return err
	}
	tables, err := db.tablesBetween(lower, upper)
	if err != nil || len(tables) == 0 {
		return err
	}
	if db.space.roomForTables() < sizeOf(tables) {
		return db.compactByTable(ctx, lower, upper)
	}
	first, last := boundsOf(tables)
	if lower != nil {
		first = later(first, lower)
	}
	if upper != nil && bytes.Compare(upper, last) < 0 {
		last = upper
	}
	return db.compactKeys(ctx, first, last)
}

// table is where a table lies in the tree and what it takes.
type table struct {
	level       int
	first, last []byte // both included
	size        int64  // bytes
}

// compactKeys compacts a range of keys, ends included. The engine wants the ends to differ.
func (db *DB) compactKeys(ctx context.Context, first, last []byte) error {
	if bytes.Compare(first, last) >= 0 {
		last = append(slices.Clone(first), 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go db.watchFailures(ctx, cancel)
	if err := db.engine.Compact(ctx, first, last, true); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return nil
}

const (
	// failureLook is how often a waiting Compact looks whether compactions fail, and maxFailures how many it bears with.
	failureLook = 50 * time.Millisecond
	maxFailures = 3
)

// watchFailures ends a compaction that waits behind others which fail again and again: the engine starts one that met a
// damaged table of L0 anew at once.
func (db *DB) watchFailures(ctx context.Context, cancel context.CancelCauseFunc) {
	before := db.events.errors.Load()
	look := time.NewTicker(failureLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			if db.events.errors.Load() >= before+maxFailures {
				cancel(db.events.lastError())
			}
		}
	}
}

// maxPasses ends a Compact that writers feed as fast as it works. Each pass takes what the one before has left between
// the level it found it in and the deepest one.
const maxPasses = 20

// compactByTable sinks the tables above the deepest level one after the other: a compaction keeps its inputs until it is
// done, and one table with those it overlaps is what the reserve has room for. Tables for which there was no room are
// tried again as long as others give some back.
func (db *DB) compactByTable(ctx context.Context, lower, upper []byte) error {
	for range maxPasses {
		tables, err := db.tablesBetween(lower, upper)
		if err != nil {
			return err
		}
		tables = aboveDeepest(tables)
		if len(tables) == 0 {
			break
		}
		if done, err := db.sink(ctx, tables); err != nil && done == 0 {
			return err
		}
	}
	return nil
}

// sink compacts at the first key of each table, and returns for how many there was room and the first refusal. Other
// errors end it with none.
func (db *DB) sink(ctx context.Context, tables []table) (done int, refused error) {
	for _, t := range tables {
		switch err := db.compactKeys(ctx, t.first, t.first); {
		case err == nil:
			done++
		case !errors.Is(wrap(err), ErrNoSpace):
			return 0, err
		case refused == nil:
			refused = err
		}
	}
	return done, refused
}

// aboveDeepest leaves the tables out that cannot sink.
func aboveDeepest(tables []table) []table {
	deepest := 1
	for _, t := range tables {
		deepest = max(deepest, t.level)
	}
	return slices.DeleteFunc(tables, func(t table) bool { return t.level == deepest })
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
	return table{level, info.Smallest.UserKey, info.Largest.UserKey, int64(info.Size)}
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
