package kv

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

func compactionOf(from, to int, err error) pebble.CompactionInfo {
	in := pebble.LevelInfo{Level: from, Tables: []pebble.TableInfo{{}}}
	in.Tables[0].Smallest.UserKey = fmt.Appendf(nil, "k%d", from)
	return pebble.CompactionInfo{Input: []pebble.LevelInfo{in}, Output: pebble.LevelInfo{Level: to}, Err: err}
}

// TestRetry checks that the engine is made to look for compactions while they fail, that it is made to compact where one
// failed once it would leave nothing alone, and that this ends with the failures.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c compactions
		var looks, made atomic.Int32
		run := func(info pebble.CompactionInfo) {
			c.begin()
			c.end(info)
		}
		reset := func() { looks.Store(0); made.Store(0) }
		run(compactionOf(3, 4, syscall.ENOSPC)) // while the engine opens
		c.start(func(key []byte) {
			looks.Add(1)
			if key != nil {
				made.Add(1)
				require.Contains(t, []string{"k0", "k3"}, string(key))
			}
		})
		require.ErrorIs(t, c.failure(), ErrNoSpace)
		time.Sleep(10*retryEvery + retryEvery/2)
		require.EqualValues(t, 10, looks.Load())
		time.Sleep(failureLasts)
		require.NoError(t, c.failure())
		require.EqualValues(t, 1, made.Load())
		reset()
		time.Sleep(time.Hour)
		require.Zero(t, looks.Load(), "nothing fails any more")

		run(compactionOf(3, 4, pebble.ErrCorruption))
		time.Sleep(4 * time.Minute)
		require.ErrorIs(t, c.failure(), ErrCorrupt, "the engine leaves damaged tables alone for five minutes")
		require.Zero(t, made.Load())
		time.Sleep(2 * time.Minute)
		require.NoError(t, c.failure())
		require.EqualValues(t, 1, made.Load())

		run(compactionOf(0, 4, syscall.ENOSPC))
		time.Sleep(time.Hour)
		require.ErrorIs(t, c.failure(), ErrNoSpace, "L0 was not compacted since")
		run(compactionOf(3, 4, nil))
		run(compactionOf(0, 0, nil))
		require.Error(t, c.failure(), "neither another level's success nor one within L0 takes L0 away")
		run(compactionOf(0, 4, nil))
		time.Sleep(failureLasts)
		require.NoError(t, c.failure())

		run(compactionOf(0, 4, pebble.ErrCancelledCompaction))
		require.NoError(t, c.failure())
		c.stop()
		reset()
		run(compactionOf(0, 4, syscall.ENOSPC))
		time.Sleep(time.Minute)
		require.Zero(t, looks.Load())
	})
}

// TestRetryOnAnEngine checks, with a snapshot open, that a compaction is made where the engine itself would not look.
func TestRetryOnAnEngine(t *testing.T) {
	db := newTest(t)
	sn, err := db.NewSnapshot()
	require.NoError(t, err)
	for range 2 { // two layers of L0: too few for the engine
		require.NoError(t, db.Set(key(1), value(1, 100)))
		require.NoError(t, db.Flush())
	}
	db.lookForCompactions(nil)
	db.lookForCompactions(key(1))
	m, err := db.Metrics()
	require.NoError(t, err)
	require.Zero(t, m.Engine.Levels[0].TablesCount)
	require.NoError(t, sn.Close())
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
		c.end(compactionOf(2, 3, syscall.ENOSPC))
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
	g.compactions.end(compactionOf(0, 6, syscall.ENOSPC))
	full(g.stopWrites - memTablesInMemory - 1)
	err := db.Set(key(1), nil)
	require.ErrorIs(t, err, ErrStalled)
	require.ErrorIs(t, err, ErrNoSpace)
	require.NoError(t, db.Delete(key(1)))
	full(g.stopWrites - memTablesInMemory)
	require.ErrorIs(t, db.Delete(key(1)), ErrStalled)

	g.compactions.begin()
	g.compactions.end(compactionOf(0, 6, nil))
	full(0)
	require.NoError(t, db.Set(key(1), nil))
}

// TestRefusedCloseLeavesTheStoreUsable has a snapshot come and go while the store is being closed: after a Close that was
// refused, also late, everything works as before.
func TestRefusedCloseLeavesTheStoreUsable(t *testing.T) {
	for range 50 {
		db := openTest(t, "malloc:16MiB", &Options{CreateIfMissing: true, CacheSize: -1, CompressedCacheSize: -1})
		sn := make(chan *Snapshot)
		go func() {
			s, _ := db.NewSnapshot() // fails if the store was closed before
			sn <- s
		}()
		err := db.Close()
		s := <-sn
		if err != nil {
			require.ErrorIs(t, err, ErrOpenHandles)
			require.NoError(t, db.Set(key(1), nil))
			require.NoError(t, db.Flush())
			require.NoError(t, db.Compact(t.Context(), nil, nil))
		}
		if s != nil {
			require.NoError(t, s.Close())
		}
	}
	db := newTest(t) // the refusal behind the gate, which is rare, step by step
	db.cancel(ErrClosed)
	require.True(t, db.gate.close())
	db.live()
	db.gate.open()
	require.NoError(t, db.Set(key(1), nil))
	require.NoError(t, db.Flush())
	require.NoError(t, db.Compact(t.Context(), nil, nil))
}
