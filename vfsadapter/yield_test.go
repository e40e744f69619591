package vfsadapter

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestSequentialReadsYield reads from one processor, where another goroutine runs only if the reader yields to it.
func TestSequentialReadsYield(t *testing.T) {
	a := newFS(t, "malloc:16MiB", Options{})
	f, err := a.Create("/f", "")
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 4*yieldEvery))
	require.NoError(t, err)
	require.NoError(t, f.Close())

	f, err = a.Open("/f", vfs.SequentialReadsOption)
	require.NoError(t, err)
	p := make([]byte, 4096)
	_, err = f.ReadAt(p, 0) // what comes next is read ahead, and found in memory
	require.NoError(t, err)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var ran atomic.Bool
	go func() { ran.Store(true) }()
	for off := int64(4096); off < 4*yieldEvery; off += 4096 { // the scheduler may come back to this goroutine once
		_, err = f.ReadAt(p, off)
		require.NoError(t, err)
	}
	require.True(t, ran.Load())
	require.NoError(t, f.Close())
}
