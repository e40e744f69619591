package vfsadapter

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestDamagedTablesAreOpenedAtLeisure: in order, as a compaction does; others are not delayed, nor is a new file of the name.
func TestDamagedTablesAreOpenedAtLeisure(t *testing.T) {
	fs := newFS(t, "malloc:64MiB", Options{})
	var slept []time.Duration
	fs.damaged.sleep = func(d time.Duration) { slept = append(slept, d) }
	create := func(name string) {
		f, err := fs.Create(name, "pebble-memtable-flush")
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	open := func(name string, o ...vfs.OpenOption) {
		f, err := fs.Open(name, o...)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	create("/a.sst")
	create("/b.sst")
	open("/a.sst", vfs.SequentialReadsOption)
	require.NoError(t, fs.Distrust("/a.sst"))
	open("/a.sst", vfs.RandomReadsOption)
	open("/b.sst", vfs.SequentialReadsOption)
	require.Empty(t, slept)
	for range 7 {
		open("/a.sst", vfs.SequentialReadsOption)
		require.NoError(t, fs.Distrust("/a.sst"))
	}
	const ms = time.Millisecond
	require.Equal(t, []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, time.Second, time.Second}, slept)
	require.NoError(t, fs.Remove("/a.sst"))
	create("/a.sst")
	open("/a.sst", vfs.SequentialReadsOption)
	require.Len(t, slept, 7)
}
