package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/kv"
)

// newestLogSize is the file size of the log in use: a log that is used again keeps the size of its first life.
func newestLogSize(t *testing.T, dir string) int64 {
	t.Helper()
	entries, err := os.ReadDir(dir) // sorted by name, and the numbers have a fixed width
	require.NoError(t, err)
	size := int64(-1)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log") {
			info, err := e.Info()
			require.NoError(t, err)
			size = info.Size()
		}
	}
	return size
}

// The rows on fresh and on recycled logs measure what they say: the log in use after the preparation is new, or one that
// was full before, and there is room for most of a memtable in it.
func TestPrimingMakesLogsFreshOrRecycled(t *testing.T) {
	const memTable = 1 << 20
	for _, state := range []logState{logFresh, logRecycled} {
		dir := filepath.Join(t.TempDir(), "db")
		s, err := openHostStore(dir, &kv.Options{CreateIfMissing: true, MemTableSize: memTable, CacheSize: 1 << 20})
		require.NoError(t, err)
		require.NoError(t, primeLogs(s, state, memTable, new(atomic.Bool)))
		require.NoError(t, settle(s, new(atomic.Bool)))

		size := newestLogSize(t, dir)
		if state == logFresh {
			require.Less(t, size, int64(memTable/2), "a fresh log holds the last batch of the preparation and nothing else")
		} else {
			require.Greater(t, size, int64(memTable*3/4), "a recycled log was full")
		}
		before := s.metrics().logs
		value := make([]byte, 1000)
		for i := range memTable / 2 / 1200 {
			require.NoError(t, s.set([]byte{byte(i >> 8), byte(i)}, value, false))
		}
		require.Equal(t, before, s.metrics().logs, "half a memtable later the log is the same")
		require.NoError(t, s.close())
	}
}
