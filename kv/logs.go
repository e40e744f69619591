package kv

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/blobkv/blobkv/vfsadapter"
)

// A store that is closed depends on no log where that can be had: Close flushes the memtables, so that what was written lies
// in tables, of which every block has a checksum that is looked at when it is read. Where it cannot (there is no room, the
// device fails), the last log keeps the records, and an empty file in the root notes where they end: its name says all,
// since there may be no cluster for content. Open compares. A log's content never changes after Close and numbers of logs
// are not given out twice, so a note that survives its log does no harm. docs/decisions/006.

const closedNote = "closed-" // and the base name of the log, a dash, and the offset where its records end

// closeFlushLimit bounds how long Close waits for the flush. It is far more than four memtables of the largest size take.
const closeFlushLimit = time.Minute

// emptyLogs flushes what is in memtables if it can be done; false if records are left in logs. No call runs any more.
func (db *DB) emptyLogs() bool {
	if db.opts.ReadOnly {
		return true
	}
	records := int64(db.engine.Metrics().WAL.Size)
	if records == 0 {
		return true
	}
	if err := db.space.roomToFlush(records + db.space.memTables/memTablesInMemory); err != nil {
		return false
	}
	// The engine panics where the change of its log fails, and Close of a store on a device that is gone is to be an error.
	if db.fs.Store().SyncData() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeFlushLimit)
	defer cancel()
	return db.flush(ctx) == nil // events tell of its error
}

// noteLogs notes where the records of the newest log end. The older ones need no note: that another log follows says that
// they were closed.
func (db *DB) noteLogs() error {
	files, err := db.fs.List(storeDir)
	if err != nil {
		return err
	}
	newest := ""
	for _, f := range files {
		if path.Ext(f.Name) == ".log" {
			newest = f.Name // they are listed in order
		}
	}
	if newest == "" {
		return nil
	}
	end, closed, err := db.adapter.ClosedEnd(path.Join(storeDir, newest))
	if err != nil || !closed || end == 0 {
		return err
	}
	f, err := db.fs.Create(fmt.Sprintf("/%s%s-%d", closedNote, newest, end))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// closedEnds reads the notes.
func (db *DB) closedEnds() (map[string]int64, error) {
	files, err := db.fs.List("/")
	if err != nil {
		return nil, err
	}
	ends := map[string]int64{}
	for _, f := range files {
		rest, ok := strings.CutPrefix(f.Name, closedNote)
		log, offset, found := strings.Cut(rest, "-")
		if end, err := strconv.ParseInt(offset, 10, 64); ok && found && err == nil {
			ends[log] = end
		}
	}
	return ends, nil
}

// removeNotes removes the notes once the engine is open. Whether that is durable does not matter.
func (db *DB) removeNotes(ends map[string]int64) error {
	for log, end := range ends {
		if err := db.fs.Remove(fmt.Sprintf("/%s%s-%d", closedNote, log, end)); err != nil {
			return err
		}
	}
	return nil
}

// logCheck is how the logs are judged that the engine replays.
func (db *DB) logCheck(ends map[string]int64) *vfsadapter.LogCheck {
	c := &vfsadapter.LogCheck{Ends: ends}
	if db.opts.ReadOnly {
		c.Cut = true
		c.Damaged = func(d *vfsadapter.LogDamage) {
			db.events.corrupt.Add(1)
			db.events.note(db.placed(d))
			engineLogger{db.opts.Logger}.Errorf("%v; what was committed after it is not read", db.placed(d))
		}
		return c
	}
	c.Room = func(n int64) error {
		if err := db.space.roomToFlush(n); err != nil {
			return fmt.Errorf("the log holds %d bytes of changes that must become tables before the store can be written: %w "+
				"(nothing is lost: ReadOnly reads it all)", n, err)
		}
		return nil
	}
	return c
}
