package kv

import (
	"context"
	"time"
)

// flushLook is how often a waiting Flush looks whether flushes fail.
const flushLook = 20 * time.Millisecond

// Flush writes every memtable into tables. Durability does not need it. ErrNoSpace if there is no room for a table, or
// what the device says; the engine goes on trying.
func (db *DB) Flush() error {
	s, ok := db.gate.enter()
	if !ok {
		return ErrClosed
	}
	defer db.gate.leave(s)
	return db.flush(db.ctx)
}

// flush waits for a flush, but not for one that fails: the engine tries it again and again, and whoever would free space
// may be waiting here.
func (db *DB) flush(ctx context.Context) error {
	failures := db.events.flushErrors.Load()
	done, err := db.engine.AsyncFlush()
	if err != nil {
		return wrap(err)
	}
	look := time.NewTicker(flushLook)
	defer look.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
			if db.events.flushErrors.Load() == failures {
				continue
			}
			if err := db.events.flushError(); err != nil {
				return err
			}
		}
	}
}
