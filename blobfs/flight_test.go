package blobfs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSyncReturnsFlights: a write that a sync has waited for goes back to the pool.
func TestSyncReturnsFlights(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	f := e.openWrite("/f")
	for i := range 3 { // appended, and in place
		_, err := f.WriteAt(pattern(5000, byte(i)), int64(i%2)*5000)
		require.NoError(t, err)
		f.d.wmu.Lock()
		f.d.startAll()
		require.NotEmpty(t, f.d.flights)
		flight := f.d.flights[0]
		f.d.wmu.Unlock()
		require.NoError(t, f.Sync())
		require.Zero(t, flight.refs.Load())
		require.Empty(t, f.d.flights)
		require.Empty(t, f.d.aloft)
	}
	require.NoError(t, f.Close())
}

// TestSyncAllocations: a sync of a log that is written again allocates nothing; one that appends, what the store keeps of
// the new length.
func TestSyncAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	e := newEnv(t, 16<<20, Options{})
	f := e.openWrite("/f")
	p := pattern(300, 1)
	_, err := f.Write(pattern(64<<10, 2))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	at := int64(0)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := f.WriteAt(p, at); err != nil || f.Sync() != nil {
			t.Error(err)
		}
		at += int64(len(p))
	}), "in place")
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		if _, err := f.Write(p); err != nil || f.Sync() != nil {
			t.Error(err)
		}
	}), 5.0, "appended")
	require.NoError(t, f.Close())
}
