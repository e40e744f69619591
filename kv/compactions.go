package kv

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// lookEvery is how often a waiting change looks again by itself: files are removed some time after a compaction.
	lookEvery = 20 * time.Millisecond
	// settleTime is how long after the end of a compaction the files that it replaced, or made in vain, are waited for.
	settleTime = 500 * time.Millisecond
)

// compactions is what the engine's events tell of its compactions.
type compactions struct {
	mu      sync.Mutex
	running int
	stuck   int       // of these, how many wait for the others' room
	ended   time.Time // when the last one ended, or the last of their tables was removed
	failures
	retries

	placed func(error) error // adds the place of damage; set before there is an engine
}

func (c *compactions) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running++
}

func (c *compactions) end(info pebble.CompactionInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	c.ended = time.Now()
	c.note(info, c.ended)
	if c.failing() {
		c.schedule(c.tryAgain)
	}
}

// removed takes note of a table that is gone: others may follow.
func (c *compactions) removed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = time.Now()
}

// failure is why compactions fail at present, or nil.
func (c *compactions) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failing() {
		return nil
	}
	if c.placed == nil {
		return wrap(c.err)
	}
	return wrap(c.placed(c.err))
}

// awaitChange sleeps for a moment if a compaction that runs or has just ended may give room back; false if none is.
func (c *compactions) awaitChange() bool {
	c.mu.Lock()
	hope := c.running > 0 || time.Since(c.ended) < settleTime
	c.mu.Unlock()
	if hope {
		time.Sleep(lookEvery)
	}
	return hope
}

// awaitRoom has a compaction that finds no room wait for another one that runs or has just ended; false if there is none.
func (c *compactions) awaitRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running-c.stuck < 2 && time.Since(c.ended) > settleTime {
		return false
	}
	c.stuck++
	c.mu.Unlock()
	time.Sleep(lookEvery)
	c.mu.Lock()
	c.stuck--
	return true
}

// For how long the engine leaves the tables of a compaction alone that failed, and of one that met damage; and some slack.
const (
	failureLasts = 31 * time.Second
	damageLasts  = 5*time.Minute + time.Second
)

// failures says whether compactions fail. Guarded by compactions.mu.
type failures struct {
	err    error
	until  time.Time // the engine does not try all compactions before that
	first  []byte    // a key of a table of the failed one
	l0Fail bool      // no compaction out of L0 has succeeded since one failed
}

// note takes note of the end of a compaction.
func (f *failures) note(info pebble.CompactionInfo, now time.Time) {
	fromL0 := len(info.Input) > 0 && info.Input[0].Level == 0
	switch {
	case info.Err == nil:
		if fromL0 && info.Output.Level > 0 {
			f.l0Fail = false
		}
		return
	case errors.Is(info.Err, pebble.ErrCancelledCompaction):
		return
	}
	lasts := failureLasts
	if pebble.IsCorruptionError(info.Err) {
		lasts = damageLasts
	}
	if until := now.Add(lasts); until.After(f.until) {
		f.until = until
	}
	f.err, f.l0Fail = info.Err, f.l0Fail || fromL0
	for i := range info.Input {
		if tables := info.Input[i].Tables; len(tables) > 0 {
			f.first = slices.Clone(tables[0].Smallest.UserKey)
			break
		}
	}
}

func (f *failures) failing() bool { return f.l0Fail || f.err != nil && time.Now().Before(f.until) }

// retryEvery is how often the engine is made to look for compactions again while they fail.
const retryEvery = time.Second

// retries lets failed compactions be tried again. The engine itself looks for compactions only when a flush or a compaction
// has ended, and writers that wait for L0 cause neither. Guarded by compactions.mu.
type retries struct {
	// look makes the engine look. With a key it compacts there, whatever the engine would choose. Nil until there is an
	// engine, and at the end.
	look  func(key []byte)
	timer *time.Timer
}

// start begins to call look, on goroutines of its own, while compactions fail.
func (c *compactions) start(look func(key []byte)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look = look
	if c.failing() {
		c.schedule(c.tryAgain)
	}
}

// stop ends the calls of look.
func (c *compactions) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look = nil
	if c.timer != nil {
		c.timer.Stop()
	}
}

// schedule arms the timer.
func (r *retries) schedule(try func()) {
	switch {
	case r.look == nil:
	case r.timer == nil:
		r.timer = time.AfterFunc(retryEvery, try)
	default:
		r.timer.Reset(retryEvery)
	}
}

// tryAgain has the engine look. Once it does not leave anything alone any more, it is made to compact where it failed: with
// a snapshot open it may not have looked.
func (c *compactions) tryAgain() {
	c.mu.Lock()
	look, key := c.look, []byte(nil)
	now := time.Now()
	expired := !now.Before(c.until)
	if expired {
		key = c.first
		if c.l0Fail {
			c.until = now.Add(failureLasts)
		}
	}
	if c.failing() {
		c.schedule(c.tryAgain)
	}
	c.mu.Unlock()
	if look != nil {
		look(key)
	}
}

// backlog is what waits to be compacted at the top of the tree.
type backlog struct {
	bytes     int64 // of memtables, L0 and the base level: one compaction may have to write all of it once more
	memTables int64 // bytes of memtables alone
	sublevels int   // overlapping layers of L0
}

func backlogOf(m *pebble.Metrics) backlog {
	b := backlog{memTables: int64(m.MemTable.Size), sublevels: int(m.Levels[0].Sublevels)}
	b.bytes = b.memTables + m.Levels[0].TablesSize
	for i := 1; i < len(m.Levels); i++ {
		if size := m.Levels[i].TablesSize; size > 0 {
			if i < len(m.Levels)-1 { // a tree of two levels has no base level to speak of: compactions take parts of it
				b.bytes += size
			}
			break
		}
	}
	return b
}
