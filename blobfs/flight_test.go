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
