package kv

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobkv/blobkv/vfsadapter"
)

// maxOpenFlushes is how often the flush of the replayed log may fail before Open does. The engine would try for ever.
const maxOpenFlushes = 3

// opening is an engine that is being opened.
type opening struct {
	result chan opened // has room for both who may send
}

type opened struct {
	engine *pebble.DB
	err    error
}

// open opens the engine. It flushes what it has replayed, and cannot be stopped while that fails: then open returns with
// the reason and leaves the engine behind, parked with its lock so that it touches nothing any more. What it takes, a few
// goroutines, the memtables and the caches, is lost to the process. Open looks for room before, so this is for devices that
// fail meanwhile.
func (e *events) open(po *pebble.Options, adapter *vfsadapter.FS) (*pebble.DB, error) {
	o := &opening{result: make(chan opened, 2)}
	e.opening.Store(o)
	go func() {
		engine, err := pebble.Open(storeDir, po)
		e.opening.Store(nil)
		o.result <- opened{engine, err}
	}()
	r := <-o.result
	if r.err != nil {
		adapter.EndRemoves()
	}
	return r.engine, r.err
}

// abandon makes open return and never returns itself: the goroutine that flushes calls it, with the engine's lock.
func (o *opening) abandon(err error) {
	o.result <- opened{err: fmt.Errorf("the changes in the log must become tables, which fails: %w (nothing is lost: ReadOnly reads it all)", err)}
	select {}
}
