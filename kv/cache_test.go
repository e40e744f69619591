package kv

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/faultbdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
)

// loadTable fills a store with values that compress, in tables.
func loadTable(t testing.TB, db *DB, keys int) {
	t.Helper()
	for i := range keys {
		require.NoError(t, db.Set(key(i), value(i, 500), NoSync))
	}
	require.NoError(t, db.Compact(t.Context(), nil, nil))
}

// readAll reads every key and returns how many reads of the device that took.
func readAll(t testing.TB, db *DB, keys int) uint64 {
	t.Helper()
	n := uint64(0)
	for i := range keys {
		n += readKey(t, db, i)
	}
	return n
}

// TestCompressedCache reads data that Pebble's cache has no room for: the second time nothing comes from the device, and
// without the cache everything does.
func TestCompressedCache(t *testing.T) {
	const keys = 1500
	for _, size := range []int64{0, -1, 1, 64 << 10} {
		db := openTest(t, "malloc:256MiB", &Options{CreateIfMissing: true, CacheSize: -1, CompressedCacheSize: size})
		loadTable(t, db, keys)
		readAll(t, db, keys)
		again := readAll(t, db, keys)
		for i := 0; size == 0 && again > 0 && i < 10; i++ { // the engine reads the tables' statistics in the background
			again = readAll(t, db, keys)
		}
		m, err := db.Metrics()
		require.NoError(t, err)
		if size == 0 {
			require.Zero(t, again)
			require.EqualValues(t, DefaultCompressedCacheSize, m.Compressed.Capacity)
			require.Positive(t, m.Compressed.Hits)
			require.Positive(t, m.Compressed.Misses)
			require.Positive(t, m.Compressed.Blocks)
			require.Less(t, m.Compressed.Bytes, int64(keys*500/2), "the blocks are not compressed")
		} else {
			require.Positive(t, again, "cache of %d bytes", size)
			require.LessOrEqual(t, m.Compressed.Bytes, max(size, 0))
		}
		require.NoError(t, db.Close())
	}
}

// TestCompressedCacheGivesMemoryBack opens and closes a store whose cache has been used.
func TestCompressedCacheGivesMemoryBack(t *testing.T) {
	const keys = 2000
	device := image(t)
	db := openTest(t, device, &Options{CreateIfMissing: true})
	loadTable(t, db, keys)
	require.NoError(t, db.Close())
	before := mappings(t)
	for range 10 {
		db = openTest(t, device, &Options{CacheSize: -1, CompressedCacheSize: 512 << 20})
		readAll(t, db, keys)
		require.Greater(t, mappings(t), before, "the cache is not in a mapping of its own")
		require.NoError(t, db.Close())
	}
	require.LessOrEqual(t, mappings(t), before)
}

// mappings counts the mappings of this process that are as large as the cache in the test above. The test is skipped where
// that cannot be known.
func mappings(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		var from, to uint64
		_, err := fmt.Sscanf(line, "%x-%x", &from, &to)
		require.NoError(t, err)
		if size := to - from; size >= 512<<20 && size <= 520<<20 {
			n++
		}
	}
	return n
}

// keptBackend outlives the devices that are made of it.
type keptBackend struct{ bdev.Backend }

func (keptBackend) Close() error { return nil }

// TestTransientDamage reads one key through a device that returns a wrong bit once, in each of the reads that this takes
// in turn. Whoever reads then gets ErrCorrupt; the next read is answered from the device, not from a cache that
// remembers the wrong bytes.
func TestTransientDamage(t *testing.T) {
	ram, err := mallocbdev.New(mallocbdev.Config{Size: 256 << 20})
	require.NoError(t, err)
	faults := faultbdev.New(ram)
	open := func() *DB {
		dev, err := bdev.New("fault", keptBackend{faults}, bdev.Options{})
		require.NoError(t, err)
		db, err := openOn(dev, (&Options{CreateIfMissing: true, CacheSize: -1, Compression: NoCompression}).withDefaults())
		require.NoError(t, err)
		return db
	}
	db := open()
	loadTable(t, db, 1000)
	require.NoError(t, db.Close())

	db = open()
	var reads []int64 // the byte in the middle of each
	faults.Inject(faultbdev.Rule{Ops: faultbdev.Reads, Count: faultbdev.Always, Fault: faultbdev.Pass(), Match: func(r *bdev.Request) bool {
		reads = append(reads, r.Offset+int64(len(r.Buf))/2)
		return true
	}})
	requireValue(t, db, key(500), value(500, 500))
	faults.Clear()
	require.NoError(t, db.Close())

	failed := 0
	for _, off := range reads {
		db := open()
		faults.Inject(faultbdev.Rule{Ops: faultbdev.Reads, Offset: off, Length: 1, Fault: faultbdev.Corrupt()})
		if _, err := db.Get(key(500)); err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			failed++
		}
		faults.Clear()
		requireValue(t, db, key(500), value(500, 500))
		require.Eventually(t, func() bool { return readKey(t, db, 500) == 0 }, 10*time.Second, time.Millisecond,
			"the right bytes are cached again") // the engine reads the tables' statistics in the background
		require.NoError(t, db.Close())
	}
	require.Positive(t, failed)
	t.Logf("%d of %d reads failed", failed, len(reads))
	require.NoError(t, ram.Close())
}

// readKey reads one key and returns how many reads of the device that took.
func readKey(t testing.TB, db *DB, i int) uint64 {
	t.Helper()
	before := db.dev.Stats()
	requireValue(t, db, key(i), value(i, 500))
	after := db.dev.Stats()
	return after.Of(bdev.OpRead).Latency.Count - before.Of(bdev.OpRead).Latency.Count
}
