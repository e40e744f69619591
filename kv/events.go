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

// listener hears the engine. The engine may hold its locks while it calls: nothing here blocks or calls back.
func (e *events) listener(l Logger) *pebble.EventListener {
	el := &pebble.EventListener{}
	if l != nil {
		logging := pebble.MakeLoggingEventListener(engineLogger{l})
		el = &logging
	}
	report := el.BackgroundError
	el.BackgroundError = func(err error) {
		e.errors.Add(1)
		e.last.Store(&err)
		if report != nil {
			report(err)
		}
	}
	return el
}

func (e *events) lastError() error {
	if p := e.last.Load(); p != nil {
		return wrap(*p)
	}
	return nil
}
