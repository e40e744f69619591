package kv

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

func compactionOf(level int, err error) pebble.CompactionInfo {
	return pebble.CompactionInfo{Input: []pebble.LevelInfo{{Level: level}}, Err: err}
}

// TestRetry checks that the engine is made to look for compactions while they fail, and not afterwards.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c compactions
		tries := 0
		c.start(func() { tries++ })
		c.begin()
		c.end(compactionOf(0, nil))
		time.Sleep(time.Minute)
		require.Zero(t, tries)

		c.begin()
		c.end(compactionOf(0, syscall.ENOSPC))
		require.ErrorIs(t, c.failure(), ErrNoSpace)
		time.Sleep(10*retryEvery + retryEvery/2)
		require.Equal(t, 10, tries)
		time.Sleep(time.Hour)
		require.ErrorIs(t, c.failure(), ErrNoSpace, "L0 was not compacted since")

		c.begin()
		c.end(compactionOf(3, nil))
		require.Error(t, c.failure(), "another level's success says nothing of L0")
		c.begin()
		c.end(compactionOf(0, nil))
		require.NoError(t, c.failure())
		before := tries
		time.Sleep(time.Minute)
		require.LessOrEqual(t, tries, before+1)

		c.begin()
		c.end(compactionOf(3, errors.New("damaged")))
		require.ErrorContains(t, c.failure(), "damaged")
		c.begin()
		c.end(compactionOf(0, pebble.ErrCancelledCompaction))
		time.Sleep(failureLasts)
		require.NoError(t, c.failure(), "the engine has tried again by now")
		c.stop()
		before = tries
		c.begin()
		c.end(compactionOf(0, syscall.ENOSPC))
		time.Sleep(time.Minute)
		require.Equal(t, before, tries)
	})
}

// TestAwaitRoom checks that of two compactions without room one waits for the other, and that the last one does not wait.
func TestAwaitRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c compactions
		c.begin()
		require.False(t, c.awaitRoom(), "nobody to wait for")
		c.begin()
		waited := make(chan bool)
		go func() { waited <- c.awaitRoom() }()
		synctest.Wait()
		require.False(t, c.awaitRoom(), "both would wait for each other")
		c.end(compactionOf(2, syscall.ENOSPC))
		require.True(t, <-waited)
		require.True(t, c.awaitRoom(), "the files of one that has just ended are still being removed")
		time.Sleep(2 * settleTime)
		require.False(t, c.awaitRoom())
	})
}

// TestWritesAreRefusedWhileL0CannotBeCompacted checks that nobody is let into the engine to wait for a compaction that
// fails: deletes have a little more room than Sets.
func TestWritesAreRefusedWhileL0CannotBeCompacted(t *testing.T) {
	db := newTest(t)
	g := db.space
	full := func(sublevels int) {
		g.credit.Store(0)
		g.backlogChanged.Store(false)
		g.sublevels.Store(int32(sublevels))
	}
	full(g.stopWrites)
	require.NoError(t, db.Set(key(1), nil), "the engine makes writers wait; compactions go on")
	g.compactions.begin()
	g.compactions.end(compactionOf(0, syscall.ENOSPC))
	full(g.stopWrites - memTablesInMemory - 1)
	err := db.Set(key(1), nil)
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, "compactions fail")
	require.NoError(t, db.Delete(key(1)))
	full(g.stopWrites - memTablesInMemory)
	require.ErrorIs(t, db.Delete(key(1)), ErrNoSpace)

	g.compactions.begin()
	g.compactions.end(compactionOf(0, nil))
	full(0)
	require.NoError(t, db.Set(key(1), nil))
}
