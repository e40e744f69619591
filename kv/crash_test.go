package kv

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev/crashbdev"
)

const (
	crashWriters = 4
	crashKeys    = 100 // of each writer; they come back again and again
)

// crashRun is a store on a device whose power can be cut, with goroutines that write to it.
type crashRun struct {
	disk  *crashbdev.Disk
	db    *DB
	acked [crashWriters]atomic.Int64 // newest step of each writer that is acknowledged
	stop  atomic.Bool
	wg    sync.WaitGroup
}

// TestPowerCut cuts the power again and again under writers: in what is left every acknowledged write is there, every
// batch is whole, and the writes without sync are a prefix of what was written.
func TestPowerCut(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	cuts := rounds(20, 3)
	for _, sparse := range []bool{false, true} {
		r := startCrashRun(t, crashbdev.Options{Size: 128 << 20, BlockSize: 4096, Sparse: sparse})
		for range cuts {
			time.Sleep(time.Duration(rng.IntN(15)) * time.Millisecond)
			r.cut(t, rng)
		}
		r.end(t)
	}
	t.Logf("%d power cuts", 2*cuts)
}

func startCrashRun(t *testing.T, o crashbdev.Options) *crashRun {
	r := &crashRun{disk: crashbdev.New(o)}
	r.db = openDisk(t, r.disk)
	for w := range crashWriters {
		r.wg.Go(func() { r.write(t, w) })
	}
	r.wg.Go(func() { r.writeUnsynced(t) })
	return r
}

// openDisk opens the store on a disk, making it if it is blank.
func openDisk(t *testing.T, disk *crashbdev.Disk) *DB {
	t.Helper()
	dev, err := disk.Open("crash")
	require.NoError(t, err)
	o := &Options{CreateIfMissing: true, MemTableSize: minMemTableSize, CacheSize: 1 << 20}
	db, err := openOn(dev, o.withDefaults())
	require.NoError(t, err)
	return db
}

func (r *crashRun) end(t *testing.T) {
	r.stop.Store(true)
	r.wg.Wait()
	require.NoError(t, r.db.Close())
}

// write is one writer: each step is a batch of a counter and two rows, synced.
func (r *crashRun) write(t *testing.T, w int) {
	b := r.db.NewBatch()
	defer b.Close()
	for n := int64(1); !r.stop.Load(); n++ {
		for _, part := range []string{"count", "row", "copy"} {
			if err := b.Set(crashKey(part, w, n), crashValue(w, n)); err != nil {
				t.Error(err)
			}
		}
		if err := b.Commit(); err != nil {
			t.Error(err)
			return
		}
		r.acked[w].Store(n)
	}
}

// crashKey is one key for the counter, and one of crashKeys for rows.
func crashKey(part string, w int, n int64) []byte {
	if part == "count" {
		return fmt.Appendf(nil, "count/%d", w)
	}
	return fmt.Appendf(nil, "%s/%d/%03d", part, w, n%crashKeys)
}

// crashValue begins with the step and is as long as the step says.
func crashValue(w int, n int64) []byte {
	rng := rand.New(rand.NewPCG(uint64(w), uint64(n)))
	return append(fmt.Appendf(nil, "%012d", n), noise(rng, int(n*37)%900)...)
}

// writeUnsynced writes new keys in order, at leisure, without sync.
func (r *crashRun) writeUnsynced(t *testing.T) {
	for n := 0; !r.stop.Load(); n++ {
		if err := r.db.Set(fmt.Appendf(nil, "unsynced/%08d", n), []byte("x"), NoSync); err != nil {
			t.Error(err)
			return
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// cut checks one state that the device may be in now. The writers go on with theirs.
func (r *crashRun) cut(t *testing.T, rng *rand.Rand) {
	var acked [crashWriters]int64
	for w := range acked {
		acked[w] = r.acked[w].Load()
	}
	modes := crashbdev.Modes()
	mode, seed := modes[rng.IntN(len(modes))], rng.Uint64()
	disk := r.disk.Cut(mode, seed)
	checkDisk(t, disk)
	db := openDisk(t, disk)
	for w := range acked {
		checkWriter(t, db, w, acked[w])
	}
	checkUnsynced(t, db)
	require.NoError(t, db.Set([]byte("after"), []byte("the cut")))
	require.NoError(t, db.Close())
	checkDisk(t, disk)
}

// checkWriter checks that a writer's batches up to its counter are there, and that the counter covers what was
// acknowledged.
func checkWriter(t *testing.T, db *DB, w int, acked int64) {
	t.Helper()
	v, err := db.Get(crashKey("count", w, 0))
	if err == ErrNotFound && acked == 0 {
		return
	}
	require.NoError(t, err)
	var last int64
	_, err = fmt.Sscanf(string(v[:12]), "%d", &last)
	require.NoError(t, err)
	require.GreaterOrEqual(t, last, acked, "writer %d: an acknowledged batch is lost", w)
	for n := max(1, last-crashKeys+1); n <= last; n++ {
		requireValue(t, db, crashKey("row", w, n), crashValue(w, n))
		requireValue(t, db, crashKey("copy", w, n), crashValue(w, n))
	}
}

// checkUnsynced checks that no key is missing below one that is there.
func checkUnsynced(t *testing.T, db *DB) {
	t.Helper()
	it, err := db.NewIterator(&IterOptions{LowerBound: []byte("unsynced/"), UpperBound: []byte("unsynced0")})
	require.NoError(t, err)
	n := 0
	for k := range it.All() {
		require.Equal(t, fmt.Sprintf("unsynced/%08d", n), string(k), "a hole")
		n++
	}
	require.NoError(t, it.Close())
}

// checkDisk checks what is on a disk that nobody has open.
func checkDisk(t *testing.T, disk *crashbdev.Disk) {
	t.Helper()
	dev, err := disk.Open("check")
	require.NoError(t, err)
	requireClean(t, dev)
}
