package blobfs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestModTime: a write is dated when it is first looked at, synced or closed, and not again.
func TestModTime(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	f := e.openWrite("/f")
	stat := func() int64 {
		info, err := f.Stat()
		require.NoError(t, err)
		return info.ModTime.UnixNano()
	}
	const tick = 20 * time.Millisecond // of the coarsest clock there is
	created := stat()
	time.Sleep(tick)
	_, err := f.Write([]byte("x"))
	require.NoError(t, err)
	written := stat()
	require.Greater(t, written, created)
	require.Equal(t, written, stat())
	require.NoError(t, f.Sync())
	require.Equal(t, written, stat())
	time.Sleep(tick)
	_, err = f.Write([]byte("y"))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	synced := f.n.changed.Load()
	require.Greater(t, synced, written)
	require.Equal(t, synced, stat())
	require.NoError(t, f.Close())
	e.remount()
	info, err := e.Stat("/f")
	require.NoError(t, err)
	require.Equal(t, synced, info.ModTime.UnixNano())
}
