package kv

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/internal/procstat"
)

// stackMemory is what doc.go says of the device memory below the engine, in bytes.
const stackMemory = 46 << 20

// TestStackMemory writes, compacts, scans and reads from many goroutines at once and watches the memory below the engine.
func TestStackMemory(t *testing.T) {
	require.Zero(t, dmabuf.Default.Stats().Used)
	dmabuf.Default.Trim()
	before := dmabuf.Held()
	db := openTest(t, "aio:"+filepath.Join(t.TempDir(), "store.img")+"?size=2GiB", &Options{CreateIfMissing: true, CacheSize: 1 << 20})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(g)))
			for i := range rounds(100, 40) {
				if err := useAll(db, rng, g, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	peak := int64(0)
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(100 * time.Microsecond):
			peak = max(peak, dmabuf.Held()-before)
		}
	}
	t.Logf("at most %d KB of device memory", peak>>10)
	require.LessOrEqual(t, peak, int64(stackMemory))
	require.Greater(t, peak, int64(4<<20), "this watched nothing")
}

func useAll(db *DB, rng *rand.Rand, g, i int) error {
	k := fmt.Appendf(nil, "%d/%d", g, rng.IntN(100))
	switch i % 4 {
	case 0, 1:
		return db.Set(k, noise(rng, rng.IntN(200<<10)), NoSync)
	case 2:
		if _, err := db.Get(k); err != ErrNotFound {
			return err
		}
		return nil
	}
	if g == 0 && i%60 == 3 {
		return db.Compact(context.Background(), nil, nil)
	}
	it, err := db.NewIterator(nil)
	if err != nil {
		return err
	}
	for range it.All() {
		if rng.IntN(50) == 0 {
			break
		}
	}
	return it.Close()
}

// BenchmarkIdle reports what an open store that nobody uses takes of one processor.
func BenchmarkIdle(b *testing.B) {
	db := openTest(b, "aio:"+image(b), &Options{CreateIfMissing: true})
	for i := range 10000 {
		require.NoError(b, db.Set(key(i), value(i, 100), NoSync))
	}
	require.NoError(b, db.Flush())
	time.Sleep(3 * time.Second) // what follows the work: punching, adaptive pollers going to sleep
	before, err := procstat.ProcessCPU()
	require.NoError(b, err)
	start := time.Now()
	for range b.N {
		time.Sleep(5 * time.Second)
	}
	after, err := procstat.ProcessCPU()
	require.NoError(b, err)
	b.ReportMetric(100*float64(after-before)/float64(time.Since(start)), "%cpu")
}

// TestManyStores opens more stores than a pool that they share could keep buffers for, and reads from each: none may wait
// for what another one keeps.
func TestManyStores(t *testing.T) {
	dbs := make([]*DB, 24)
	for i := range dbs {
		dbs[i] = openTest(t, "malloc:16MiB", &Options{CreateIfMissing: true, CacheSize: -1, CompressedCacheSize: -1})
		require.NoError(t, dbs[i].Set(key(1), noise(rand.New(rand.NewPCG(1, 1)), 100)))
		require.NoError(t, dbs[i].Flush())
	}
	for _, db := range dbs {
		for range 300 { // more than there are slots for bounce buffers, which are chosen at random
			_, err := db.Get(key(1))
			require.NoError(t, err)
		}
	}
	require.Zero(t, dmabuf.Default.Stats().Used)
}
