package vfsadapter

import (
	"sync"
	"time"
)

// Pebble starts a compaction out of L0 that met damage again at once, and reads up to the damage and fails for ever. So a
// damaged table is opened for reading in order, as compactions do first of all, at leisure: each time later, up to a second.
const (
	firstDamagedDelay = 50 * time.Millisecond
	maxDamagedDelay   = time.Second
)

// damagedTables are the tables that Distrust was called for.
type damagedTables struct {
	mu    sync.Mutex
	opens map[string]int // by name: how often it was opened in order since
	sleep func(time.Duration)
}

func (d *damagedTables) add(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opens == nil {
		d.opens = map[string]int{}
	}
	if _, known := d.opens[name]; !known {
		d.opens[name] = 0
	}
}

func (d *damagedTables) remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.opens, name)
}

// await delays who opens a damaged table for reading in order.
func (d *damagedTables) await(name string) {
	d.mu.Lock()
	n, damaged := d.opens[name]
	if damaged {
		d.opens[name] = n + 1
	}
	d.mu.Unlock()
	if damaged {
		d.sleep(min(firstDamagedDelay<<min(n, 10), maxDamagedDelay))
	}
}
