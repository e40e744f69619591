package kv

import (
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// lookEvery is how often a waiting change looks again by itself: files are removed some time after a compaction.
	lookEvery = 20 * time.Millisecond
	// settleTime is how long after the end of a compaction the files that it replaced, or made in vain, are waited for.
	settleTime = 500 * time.Millisecond
	// failureLasts is for how long after its failure a compaction counts as one that may fail again: the engine leaves the
	// tables of a failed one alone for 30 seconds.
	failureLasts = 35 * time.Second
	// retryEvery is how often the engine is made to look for compactions again while they fail.
	retryEvery = time.Second
)

// compactions is what the engine's events tell of its compactions.
type compactions struct {
	mu       sync.Mutex
	running  int
	stuck    int       // of these, how many wait for the others' room
	ended    time.Time // of the last one
	failed   time.Time // when the last one failed; zero: not since
	err      error     // why
	l0Failed bool      // no compaction of L0 has succeeded since one failed
	retry    func()    // makes the engine look again; nil until there is one, and at the end
	timer    *time.Timer
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
	fromL0 := len(info.Input) > 0 && info.Input[0].Level == 0
	switch {
	case info.Err == nil:
		c.l0Failed = c.l0Failed && !fromL0
	case !errors.Is(info.Err, pebble.ErrCancelledCompaction):
		c.failed, c.err = c.ended, info.Err
		c.l0Failed = c.l0Failed || fromL0
		c.scheduleRetry()
	}
}

// failure is why compactions fail at present, or nil.
func (c *compactions) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failing() {
		return nil
	}
	return wrap(c.err)
}

// failing reports whether compactions fail. The caller holds mu.
func (c *compactions) failing() bool {
	return c.l0Failed || (c.err != nil && time.Since(c.failed) < failureLasts)
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

// start lets failed compactions be tried again by calling retry from time to time. The engine itself looks for
// compactions only when a flush or a compaction has ended, and writers that wait for L0 cause neither.
func (c *compactions) start(retry func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retry = retry
}

// stop ends the calls of retry.
func (c *compactions) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retry = nil
	if c.timer != nil {
		c.timer.Stop()
	}
}

// scheduleRetry arms the timer. The caller holds mu.
func (c *compactions) scheduleRetry() {
	if c.retry == nil {
		return
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(retryEvery, c.tryAgain)
	} else {
		c.timer.Reset(retryEvery)
	}
}

func (c *compactions) tryAgain() {
	c.mu.Lock()
	retry := c.retry
	if !c.failing() {
		retry = nil
	}
	if retry != nil {
		c.scheduleRetry()
	}
	c.mu.Unlock()
	if retry != nil {
		retry()
	}
}

// backlog is what waits to be compacted at the top of the tree.
type backlog struct {
	bytes     int64 // of memtables, L0 and the base level: one compaction may have to write all of it once more
	sublevels int   // overlapping layers of L0
}

func backlogOf(m *pebble.Metrics) backlog {
	b := backlog{int64(m.MemTable.Size) + m.Levels[0].TablesSize, int(m.Levels[0].Sublevels)}
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
