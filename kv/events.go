package kv

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// events counts what goes wrong in the background.
type events struct {
	errors atomic.Int64
	last   atomic.Pointer[error]
}

// listener hears the engine and calls tablesChanged after each flush and compaction. The engine may hold its locks
// while it calls: nothing here blocks or calls back.
func (e *events) listener(l Logger, tablesChanged func()) *pebble.EventListener {
	ours := pebble.EventListener{
		BackgroundError: e.note,
		FlushEnd:        func(pebble.FlushInfo) { tablesChanged() },
		CompactionEnd:   func(pebble.CompactionInfo) { tablesChanged() },
	}
	if l == nil {
		return &ours
	}
	both := pebble.TeeEventListener(ours, pebble.MakeLoggingEventListener(engineLogger{l}))
	return &both
}

func (e *events) note(err error) {
	e.last.Store(&err)
	e.errors.Add(1)
}

func (e *events) lastError() error {
	if p := e.last.Load(); p != nil {
		return wrap(*p)
	}
	return nil
}
