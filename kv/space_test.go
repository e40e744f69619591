package kv

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// noise is a value that does not compress.
func noise(rng *rand.Rand, n int) []byte {
	v := make([]byte, 0, n+8)
	for len(v) < n {
		v = binary.LittleEndian.AppendUint64(v, rng.Uint64())
	}
	return v[:n]
}

// fill writes keys from n on until there is no space, and returns the first key that was not written.
func fill(t *testing.T, db *DB, n int) int {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	for ; ; n++ {
		err := db.Set(key(n), noise(rng, 8000), NoSync)
		if errors.Is(err, ErrNoSpace) {
			return n
		}
		require.NoError(t, err)
		require.Less(t, n, 1<<20, "never full")
	}
}

// waitForSpace waits until Set succeeds again: space is given back in the background.
func waitForSpace(t *testing.T, db *DB) {
	t.Helper()
	var err error
	for range 200 {
		if err = db.Set([]byte("a new key"), make([]byte, 100)); err == nil {
			return
		}
		require.ErrorIs(t, err, ErrNoSpace)
		time.Sleep(25 * time.Millisecond)
	}
	require.NoError(t, err, "no space came back")
}

// TestBacklogFits: however far compactions are behind, no Set leaves less than one that takes L0 and the base level whole
// would write. A device that is busy with something else lets L0 grow to all the layers that there may be.
func TestBacklogFits(t *testing.T) {
	for _, device := range []string{"malloc:16MiB", "malloc:64MiB", "malloc:256MiB"} {
		db := openTest(t, device, &Options{CreateIfMissing: true})
		g := db.space
		for _, behind := range []int64{0, g.backlogRoom, 2 * g.backlogRoom, g.usable() / 4, g.usable() / 2} {
			g.backlog = func() backlog { return backlog{bytes: behind, memTables: g.memTables} }
			g.tablesChanged()
			require.GreaterOrEqual(t, g.setFloor()-g.flushFloor, behind, "%s, %d bytes behind", device, behind)
			free := g.available()
			if err := g.admitNow(1000, false); err != nil {
				require.ErrorIs(t, err, ErrNoSpace)
				continue
			}
			credit := g.credit.Swap(0)
			require.GreaterOrEqual(t, free-2*(1000+max(0, credit))-g.flushFloor, behind)
		}
	}
}

// TestFullDeviceHeals fills a device, reads, deletes in several ways, and fills it again.
func TestFullDeviceHeals(t *testing.T) {
	for _, device := range []string{"malloc:64MiB", "malloc:112MiB"}[:rounds(2, 1)] {
		t.Run(device, func(t *testing.T) {
			db := openTest(t, device, &Options{CreateIfMissing: true})
			n := fill(t, db, 0)
			t.Logf("%d keys of 8000 bytes", n)
			m, err := db.Metrics()
			require.NoError(t, err)
			require.Greater(t, int64(n)*8000, m.Space.TotalBytes/3, "the reserve took too much")
			requireReadable(t, db, n)

			for i := 0; i < n; i += 2 { // every other key, one by one
				require.NoError(t, db.Delete(key(i), NoSync), "key %d of %d", i, n)
			}
			require.NoError(t, db.Compact(t.Context(), nil, nil))
			waitForSpace(t, db)

			more := fill(t, db, n)
			require.Greater(t, more-n, n/8, "deleting half of it made little room")
			require.NoError(t, db.DeleteRange(key(0), key(more)))
			require.NoError(t, db.Compact(t.Context(), nil, nil))
			waitForSpace(t, db)
			require.Greater(t, fill(t, db, 0), n/2)
		})
	}
}

// TestDeleteRangeHealsByItself checks that a full store takes writes again after a DeleteRange, which is small enough to stay
// in a memtable for ever.
func TestDeleteRangeHealsByItself(t *testing.T) {
	db := openTest(t, "malloc:64MiB", &Options{CreateIfMissing: true})
	n := fill(t, db, 0)
	require.NoError(t, db.DeleteRange(key(0), key(n)))
	waitForSpace(t, db)
	require.Greater(t, fill(t, db, 0), n/2)
}

// requireReadable reads some keys, and all through an iterator.
func requireReadable(t *testing.T, db *DB, n int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	it, err := db.NewIterator(nil)
	require.NoError(t, err)
	i := 0
	for k, v := range it.All() {
		require.Equal(t, key(i), k)
		require.Equal(t, noise(rng, 8000), v)
		i++
	}
	require.NoError(t, it.Close())
	require.Equal(t, n, i)
}

// TestFullDeviceConcurrently fills a device from many goroutines with batches of any size: nobody gets another error
// than ErrNoSpace, and the process lives.
func TestFullDeviceConcurrently(t *testing.T) {
	db := openTest(t, "malloc:128MiB", &Options{CreateIfMissing: true})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(g)))
			refused := 0
			for i := 0; refused < 20; i++ {
				if err := writeSome(db, rng, g, i); errors.Is(err, ErrNoSpace) {
					refused++
					time.Sleep(time.Millisecond)
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for g := range 8 {
		require.NoError(t, db.DeleteRange(fmt.Appendf(nil, "%d/", g), fmt.Appendf(nil, "%d0", g)))
	}
	require.NoError(t, db.Compact(t.Context(), nil, nil))
	waitForSpace(t, db)
}

func writeSome(db *DB, rng *rand.Rand, g, i int) error {
	b := db.NewBatch()
	defer b.Close()
	for j := range 1 + rng.IntN(10) {
		if err := b.Set(fmt.Appendf(nil, "%d/%d/%d", g, i, j), noise(rng, rng.IntN(100<<10))); err != nil {
			return err
		}
	}
	if rng.IntN(2) == 0 {
		return b.Commit()
	}
	return b.Commit(NoSync)
}

// TestReserve checks the order of the floors and that none takes more than half of the device.
func TestReserve(t *testing.T) {
	for _, device := range []string{"malloc:16MiB", "malloc:64MiB", "malloc:512MiB", "malloc:64GiB"} {
		db := openTest(t, device, &Options{CreateIfMissing: true})
		g := db.space
		require.Positive(t, g.flushFloor)
		require.Greater(t, g.deleteFloor, g.flushFloor)
		require.Greater(t, g.reserve, g.deleteFloor)
		require.LessOrEqual(t, g.reserve, db.fs.Usage().TotalBytes/maxReserveFraction)
		require.NoError(t, db.Set(key(1), value(1, 1000)), device)
		require.NoError(t, db.Close())
	}
}

// TestMetadataPages uses up the metadata pages instead of the clusters: the engine could not make its next log.
func TestMetadataPages(t *testing.T) {
	db := newTest(t)
	require.NoError(t, db.fs.Mkdir("/other"))
	info := db.fs.Store().Info()
	n := 0
	for ; n < int(info.MDPages-info.UsedMDPages)-20; n++ {
		f, err := db.fs.Create(fmt.Sprintf("/other/%d", n))
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	require.NoError(t, db.Flush()) // the engine makes files, so the guard looks again
	db.space.credit.Store(0)
	db.space.filesChanged()
	require.ErrorIs(t, db.Set(key(1), nil), ErrNoSpace)
	require.Greater(t, db.fs.Usage().FreeBytes, 2*db.space.reserve)

	require.NoError(t, db.fs.RemoveAll("/other"))
	db.space.filesChanged()
	require.NoError(t, db.Set(key(1), nil))
}

// TestHostSpace checks what the guard makes of a host that has less than the image needs.
func TestHostSpace(t *testing.T) {
	db := newTest(t)
	total := db.fs.Usage().TotalBytes
	free, unallocated := int64(1<<40), total
	g := newSpaceGuard(db.fs, func() (int64, int64, error) { return free, unallocated, nil })
	g.sizeFor(minMemTableSize)
	g.pageBytes = total // not what this is about
	before := g.available()
	require.Equal(t, db.fs.Usage().FreeBytes, before, "a host with room changes nothing")

	free = total / 2 // the host can provide half of what the image lacks
	g.checkedAt.Store(-int64(time.Hour))
	require.Equal(t, before-total/2, g.available())
	require.NoError(t, g.admit(100, false))
	g.credit.Store(0)

	free = total - before // nothing that is free here could be provided
	g.checkedAt.Store(-int64(time.Hour))
	require.ErrorIs(t, g.admit(100, false), ErrNoSpace)
	require.ErrorIs(t, g.admit(100, true), ErrNoSpace)

	unallocated = 0 // all of the image is allocated
	free = 0
	g.checkedAt.Store(-int64(time.Hour))
	require.NoError(t, g.admit(100, false))
}

// TestCredit checks that small writes stop looking at the free space while there is plenty, and that all look when it
// is short.
func TestCredit(t *testing.T) {
	db := newTest(t)
	looks, unallocated := 0, int64(0)
	g := newSpaceGuard(db.fs, func() (int64, int64, error) { looks++; return 0, unallocated, nil })
	g.sizeFor(minMemTableSize)
	g.pageBytes = db.fs.Usage().TotalBytes // not what this is about
	look := func() int {
		looks = 0
		for range 1000 {
			g.checkedAt.Store(-int64(time.Hour))
			_ = g.admit(1000, false)
		}
		return looks
	}
	require.LessOrEqual(t, look(), 3)
	unallocated = g.available() - g.reserve - 100
	g.credit.Store(0)
	require.Equal(t, 1000, look())
	require.ErrorIs(t, g.admit(1000, false), ErrNoSpace)
	require.NoError(t, g.admit(10, false))
}

// TestHostCheckFollowsBytes checks that a fast writer makes the guard look before its time.
func TestHostCheckFollowsBytes(t *testing.T) {
	db := newTest(t)
	looks := 0
	g := newSpaceGuard(db.fs, func() (int64, int64, error) { looks++; return 1 << 40, 0, nil })
	g.sizeFor(minMemTableSize)
	looks = 0
	for range 100 {
		require.NoError(t, g.admit(hostCheckBytes/10, false))
		g.done(hostCheckBytes / 10)
		g.credit.Store(0)
	}
	require.GreaterOrEqual(t, looks, 9)
	require.Less(t, looks, 100)
}

// TestFillFraction fills a device with a load in key order and one at random, and counts what is accepted until waiting
// does not help any more. The numbers of Metrics are those that Set goes by.
func TestFillFraction(t *testing.T) {
	for _, random := range []bool{false, true} {
		device := cmp.Or(os.Getenv("BLOBKV_FILL"), "malloc:192MiB")
		db := openTest(t, device, &Options{CreateIfMissing: true})
		rng := rand.New(rand.NewPCG(3, 4))
		n, first := 0, int64(0)
		for waited := 0; waited < 60; {
			k := fmt.Appendf(nil, "%016d", n)
			if random {
				k = fmt.Appendf(nil, "%016x", rng.Uint64())
			}
			err := db.Set(k, noise(rng, 10000), NoSync)
			if err == nil {
				n, waited = n+1, 0
				continue
			}
			require.ErrorIs(t, err, ErrNoSpace)
			if first == 0 {
				first = int64(n) * 10000
			}
			waited++
			time.Sleep(50 * time.Millisecond)
		}
		m, err := db.Metrics()
		require.NoError(t, err)
		accepted := int64(n) * 10000
		t.Logf("random %v: %d MB of %d MB accepted, first refusal at %d MB, %d MB free, %d MB reserve; %v", random, accepted>>20,
			m.Space.TotalBytes>>20, first>>20, m.Space.FreeBytes>>20, m.Reserve>>20, m.LastBackgroundError)
		require.Less(t, m.Available, int64(64<<10))
		require.Greater(t, accepted, m.Space.TotalBytes*6/10)
		require.NoError(t, db.DeleteRange(nil, []byte("~")))
		require.NoError(t, db.Compact(t.Context(), nil, nil))
		waitForSpace(t, db)
		require.NoError(t, db.Close())
	}
}

// TestLargeValuesAtOnce has many goroutines set values at the same moment that together are far more than there is: those
// that are let in are made, the others refused, and nobody waits for room that never comes.
func TestLargeValuesAtOnce(t *testing.T) {
	for _, size := range []int{100 << 10, 3 << 20, 24 << 20} {
		db := openTest(t, "malloc:192MiB", &Options{CreateIfMissing: true})
		for round := range 3 {
			var wg sync.WaitGroup
			for g := range 16 {
				wg.Go(func() {
					v := noise(rand.New(rand.NewPCG(uint64(size), uint64(g))), size)
					for i := range max(1, (16<<20)/size) {
						if err := db.Set(fmt.Appendf(nil, "%d/%d/%d", round, g, i), v, NoSync); err != nil && !errors.Is(err, ErrNoSpace) {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		}
		m, err := db.Metrics()
		require.NoError(t, err)
		t.Logf("%d bytes: %d MB free, %d errors in the background", size, m.Space.FreeBytes>>20, m.BackgroundErrors)
		require.NoError(t, db.DeleteRange([]byte("0"), []byte("9")))
		require.NoError(t, db.Compact(t.Context(), nil, nil))
		waitForSpace(t, db)
		require.NoError(t, db.Close())
	}
}
