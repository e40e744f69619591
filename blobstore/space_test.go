package blobstore

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev/crashbdev"
)

func TestAllocator(t *testing.T) {
	used := newBitmap(100)
	used.setRange(0, 10)
	s := newSpace(used, false)
	runs, ok := s.alloc(5, 0)
	require.True(t, ok)
	require.Equal(t, []extent{{10, 5}}, runs, "lowest first")
	runs, _ = s.alloc(5, 20)
	require.Equal(t, []extent{{20, 5}}, runs, "where the blob ends")
	runs, _ = s.alloc(8, 0)
	require.Equal(t, []extent{{25, 8}}, runs, "in one piece rather than lower")
	runs, _ = s.alloc(8, 15)
	require.Equal(t, []extent{{15, 5}, {33, 3}}, runs, "goes on, then the lowest run that fits")
	_, ok = s.alloc(65, 0)
	require.False(t, ok)
	require.EqualValues(t, 64, s.free(), "nothing is taken")
	s.put([]extent{{12, 2}, {40, 1}})
	runs, _ = s.alloc(66, 0)
	require.Equal(t, []extent{{12, 2}, {36, 64}}, runs, "all there is")
	require.Zero(t, s.free())
}

func TestAllocatorAgainstModel(t *testing.T) {
	const seed = 1
	rng := rand.New(rand.NewPCG(seed, 0))
	s := newSpace(newBitmap(300), false)
	owned := make(map[clusterIndex]bool)
	var held [][]extent
	for range 5000 {
		if len(held) > 0 && rng.IntN(2) == 0 {
			i := rng.IntN(len(held))
			for _, r := range held[i] {
				for c := range r.count {
					delete(owned, r.start+clusterIndex(c))
				}
			}
			s.put(held[i])
			held = append(held[:i], held[i+1:]...)
			continue
		}
		n := 1 + rng.Int64N(40)
		runs, ok := s.alloc(n, clusterIndex(rng.IntN(300)))
		require.Equal(t, int64(300-len(owned)) >= n, ok, "seed %d", seed)
		if !ok {
			continue
		}
		require.Equal(t, n, clustersOf(runs))
		for _, r := range runs {
			for c := range r.count {
				require.False(t, owned[r.start+clusterIndex(c)], "cluster given twice, seed %d", seed)
				owned[r.start+clusterIndex(c)] = true
			}
		}
		held = append(held, runs)
		require.EqualValues(t, 300-len(owned), s.free())
	}
}

// Free space of a sparse image goes back to the host in bulk, once there is much of it; clusters that are being punched
// are not allocated.
func TestPunch(t *testing.T) {
	disk := crashbdev.New(crashbdev.Options{Size: 512 << 20, Sparse: true, BlockSize: 4096})
	dev := openDisk(t, disk)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 400<<20/int64(s.ClusterSize()))
	commit(t, tx)
	tx = s.Begin()
	tx.Delete(id)
	require.NoError(t, s.Sync(commit(t, tx)))
	before := disk.Counters().Unmaps
	s.punch()
	require.Greater(t, disk.Counters().Unmaps, before)
	s.mu.Lock()
	kept := s.space.backed.count() * s.ClusterSize()
	s.mu.Unlock()
	require.Greater(t, kept, punchReserve/2)
	require.Less(t, kept, 300<<20)
	closeAndCheck(t, s)
}

// The worker punches by itself a while after space was freed, and an idle store wakes nobody.
func TestPunchInBackground(t *testing.T) {
	disk := crashbdev.New(crashbdev.Options{Size: 512 << 20, Sparse: true, BlockSize: 4096})
	dev := openDisk(t, disk)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 400<<20/int64(s.ClusterSize()))
	commit(t, tx)
	tx = s.Begin()
	tx.Delete(id)
	before := disk.Counters().Unmaps
	require.NoError(t, s.Sync(commit(t, tx)))
	require.Eventually(t, func() bool { return disk.Counters().Unmaps > before }, 10*time.Second, 10*time.Millisecond)
	closeAndCheck(t, s)
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	dev := mallocDevice(t, 64<<20)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 16)
	require.NoError(t, s.Sync(commit(t, tx)))
	blob, err := s.Blob(id)
	require.NoError(t, err)
	p := s.mem.Get(4096)
	defer s.mem.Put(p)
	var io IO
	ios := []*IO{&io}
	for name, f := range map[string]func(){
		"read":       func() { _ = blob.Read(p, 8192) },
		"write":      func() { _ = blob.Write(p, 8192) },
		"start":      func() { blob.StartWrite(&io, p, 0); _ = io.Wait() },
		"sync data":  func() { blob.StartWrite(&io, p, 0); _ = s.SyncData(ios...) },
		"sync again": func() { _ = s.Sync(s.LastLSN()) },
	} {
		require.Zero(t, testing.AllocsPerRun(200, f), name)
	}
	closeAndCheck(t, s)
}
