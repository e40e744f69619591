package kv

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/internal/size"
	"github.com/blobkv/blobkv/vfsadapter"
)

// Metrics is a snapshot of the store's counters.
type Metrics struct {
	Engine *pebble.Metrics // levels, compactions, caches, the log
	Space  blobfs.Usage    // of the device, in bytes
	Device bdev.Stats      // operations of the device

	Compressed vfsadapter.CacheStats // of the cache of compressed blocks; zero if there is none

	// Available is what Set may still use, in bytes, before it answers ErrNoSpace: free space less the reserve.
	Available int64
	// Reserve is the space that Set leaves alone now, in bytes. It grows for a while when flushes outrun compactions.
	Reserve int64

	// BackgroundErrors counts failed flushes and compactions; LastBackgroundError is the newest, nil if none.
	BackgroundErrors    int64
	LastBackgroundError error
	// CorruptReads counts reads of damaged tables, by callers and by compactions, and damaged logs that ReadOnly read in part.
	CorruptReads int64
}

// Metrics returns the store's counters. It takes the engine's lock for a moment.
func (db *DB) Metrics() (Metrics, error) {
	s, ok := db.gate.enter()
	if !ok {
		return Metrics{}, ErrClosed
	}
	defer db.gate.leave(s)
	reserve := db.space.setFloor()
	return Metrics{
		Engine:              db.engine.Metrics(),
		Space:               db.fs.Usage(),
		Device:              db.dev.Stats(),
		Compressed:          db.blocks.Stats(),
		Available:           max(0, db.space.available()-reserve),
		Reserve:             reserve,
		BackgroundErrors:    db.events.errors.Load(),
		LastBackgroundError: db.events.lastError(),
		CorruptReads:        db.events.corrupt.Load(),
	}, nil
}

// String is a report for people: the engine's table of levels, and the space.
func (m Metrics) String() string {
	s := m.Engine.String() + fmt.Sprintf("Space: %s of %s used, %s free: %s for writes, %s in reserve\n",
		size.Human(m.Space.UsedBytes), size.Human(m.Space.TotalBytes), size.Human(m.Space.FreeBytes), size.Human(m.Available), size.Human(m.Reserve))
	if m.BackgroundErrors > 0 {
		s += fmt.Sprintf("Background errors: %d, the last one: %v\n", m.BackgroundErrors, m.LastBackgroundError)
	}
	if m.CorruptReads > 0 {
		s += fmt.Sprintf("Reads that met damage: %d\n", m.CorruptReads)
	}
	return s
}
