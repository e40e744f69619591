package vfsadapter

import (
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestBackgroundWritesYield writes tables and a log on one processor, where another goroutine runs only if the writer
// yields to it.
func TestBackgroundWritesYield(t *testing.T) {
	a := newFS(t, "malloc:16MiB", Options{})
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for category, want := range map[vfs.DiskWriteCategory]bool{
		categoryFlush: true, categoryCompaction: true, categoryBlobRewrite: true, "pebble-wal": false,
	} {
		f, err := a.Create("/f", category)
		require.NoError(t, err)
		ran := false
		go func() { ran = true }()
		_, err = f.Write([]byte("block"))
		require.NoError(t, err)
		require.Equal(t, want, ran, string(category))
		runtime.Gosched()
		require.NoError(t, f.Close())
	}
}
