package kv

import (
	"errors"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// events counts what goes wrong in the background.
type events struct {
	errors  atomic.Int64
	last    atomic.Pointer[error]
	corrupt atomic.Int64 // reads, of any goroutine, that met damage

	flushEnd    atomic.Pointer[error] // how the newest flush ended; nil: well
	flushErrors atomic.Int64
	opening     atomic.Pointer[opening] // nil: the engine is open

	distrust func(name string) error // forgets what is cached of a file
	placed   func(error) error       // adds the place of damage
}

// listener hears the engine and tells the space guard when to look again. The engine may hold its locks while it calls:
// nothing here calls back, and nothing waits for the engine.
func (e *events) listener(l Logger, g *spaceGuard) *pebble.EventListener {
	ours := pebble.EventListener{
		BackgroundError: e.note,
		DataCorruption:  e.damaged,
		FlushEnd: func(info pebble.FlushInfo) {
			e.flushEnded(info.Err)
			g.tablesChanged()
		},
		CompactionBegin: func(pebble.CompactionInfo) { g.compactions.begin() },
		CompactionEnd: func(info pebble.CompactionInfo) {
			g.compactions.end(info)
			g.tablesChanged()
		},
		TableCreated: func(pebble.TableCreateInfo) { g.filesChanged() },
		TableDeleted: func(pebble.TableDeleteInfo) {
			g.compactions.removed()
			g.filesChanged()
		},
		WALCreated: func(pebble.WALCreateInfo) { g.filesChanged() },
	}
	if l == nil {
		return &ours
	}
	both := pebble.TeeEventListener(ours, pebble.MakeLoggingEventListener(engineLogger{l}))
	return &both
}

// damaged hears of a read whose bytes were not what was written, before whoever was reading gets the error. Without a
// listener the engine would call Fatalf. The next read shall come from the device: what it returned may have been wrong
// only once.
func (e *events) damaged(info pebble.DataCorruptionInfo) {
	e.corrupt.Add(1)
	_ = e.distrust(info.Path) // it fails only for a file that is gone
}

// note hears of an error in the background. That of a flush comes from the goroutine that flushes, right after its end.
func (e *events) note(err error) {
	e.last.Store(&err)
	e.errors.Add(1)
	if f := e.flushEnd.Load(); f != nil && errors.Is(err, *f) {
		n := e.flushErrors.Add(1)
		if o := e.opening.Load(); o != nil && n >= maxOpenFlushes {
			o.abandon(err)
		}
	}
}

// flushEnded hears how a flush ended. A flush of nothing ends with an error too, of which note does not hear.
func (e *events) flushEnded(err error) {
	if err == nil {
		e.flushEnd.Store(nil)
		return
	}
	e.flushEnd.Store(&err)
}

// flushError is why the newest flush failed.
func (e *events) flushError() error {
	if p := e.flushEnd.Load(); p != nil {
		return wrap(*p)
	}
	return nil
}

func (e *events) lastError() error {
	if p := e.last.Load(); p != nil {
		return wrap(e.placed(*p))
	}
	return nil
}
