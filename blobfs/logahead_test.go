package blobfs

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev/crashbdev"
)

// sparseEnv is a file system on a device that declares itself an image file.
func sparseEnv(t *testing.T) (*env, *crashbdev.Disk) {
	t.Helper()
	disk := crashbdev.New(crashbdev.Options{Size: 32 << 20, Sparse: true})
	dev, err := disk.Open("image")
	require.NoError(t, err)
	e := &env{t: t, dev: dev}
	require.NoError(t, Format(dev, smallStore))
	e.mount()
	t.Cleanup(func() {
		e.finish()
		require.NoError(t, dev.Close())
	})
	return e, disk
}

// TestLogAhead: a log that is synced again and again is written over zeros, a table is not, and the zeros never show.
func TestLogAhead(t *testing.T) {
	e, _ := sparseEnv(t)
	e.create("/table", pattern(3<<20, 1))
	require.Zero(t, e.Stats().ZeroedBytes)

	f := e.openWrite("/log")
	require.NoError(t, f.Preallocate(0, 4<<20))
	var want []byte
	for i := range 400 {
		p := pattern(5_000, byte(i))
		want = append(want, p...)
		_, err := f.Write(p)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		if i == aheadAfter-2 {
			require.Zero(t, e.Stats().ZeroedBytes, "a few syncs make no log")
		}
	}
	zeroed := e.Stats().ZeroedBytes
	require.GreaterOrEqual(t, zeroed, int64(len(want)))
	require.LessOrEqual(t, zeroed, int64(len(want)+aheadLow+aheadStep))
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, int64(len(want)), info.Size)
	require.Empty(t, diff(want, e.read("/log")))
	require.NoError(t, f.Truncate(100_000))
	require.NoError(t, f.Close())
	e.remount()
	require.Empty(t, diff(want[:100_000], e.read("/log")))
}

// TestLogAheadStaysInClusters: only clusters the file has are zeroed.
func TestLogAheadStaysInClusters(t *testing.T) {
	e, _ := sparseEnv(t)
	f := e.openWrite("/log")
	for range 20 {
		_, err := f.Write(pattern(100, 3))
		require.NoError(t, err)
		require.NoError(t, f.Sync())
	}
	require.LessOrEqual(t, e.Stats().ZeroedBytes, int64(64<<10))
	require.NoError(t, f.Close())
}

// TestLogAheadGivesClustersBack: what a removed log had is free again, although zeros were written ahead in it.
func TestLogAheadGivesClustersBack(t *testing.T) {
	e, _ := sparseEnv(t)
	for i := range 12 { // 48 MiB in all
		f, err := e.Create("/log")
		require.NoError(t, err)
		require.NoError(t, f.Preallocate(0, 4<<20), "log %d, nothing else exists, %d bytes are free", i, e.Usage().FreeBytes)
		for range 2 * aheadAfter {
			_, err := f.Write(pattern(3000, 1))
			require.NoError(t, err)
			require.NoError(t, f.Sync())
		}
		require.NoError(t, f.Close())
		require.NoError(t, e.Remove("/log"))
		require.NoError(t, e.FS.Sync())
	}
	require.NotZero(t, e.Stats().ZeroedBytes)
}
