package blobfs

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/blobstore"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// memoryPerFile is what a file that is not open may take of memory, on the heap and off it, in bytes.
const memoryPerFile = 1 << 10

// manyFiles is how many small files the store of the tests below has.
const manyFiles = 10_000

// emptyForMany is an empty file system for manyFiles.
func emptyForMany(t *testing.T) *blobstore.Device {
	dev := ramDevice(t, 512<<20)
	o := FormatOptions{FormatOptions: blobstore.FormatOptions{ClusterSize: 16 << 10, MDPages: 2 * manyFiles}}
	require.NoError(t, Format(dev, o))
	return dev
}

func makeMany(t *testing.T, fs *FS) {
	content := pattern(4000, 1)
	for i := range manyFiles {
		f, err := fs.Create(fmt.Sprintf("/%06d.sst", i))
		require.NoError(t, err)
		_, err = f.Write(content)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}
}

// TestMemoryPerFile holds files that were made since the mount, and files that a mount found, to their share of memory.
// What a file system without files takes does not count.
func TestMemoryPerFile(t *testing.T) {
	dev := emptyForMany(t)
	fs, err := Open(dev, Options{})
	require.NoError(t, err)
	empty := memoryInUse()
	makeMany(t, fs)
	made := (memoryInUse() - empty) / manyFiles
	require.NoError(t, fs.Close())
	fs, err = Open(dev, Options{})
	require.NoError(t, err)
	found := (memoryInUse() - empty) / manyFiles
	require.Len(t, fs.ns.root.entries, manyFiles)
	require.NoError(t, fs.Close())
	t.Logf("made: %d bytes a file, found by the mount: %d", made, found)
	require.Less(t, made, int64(memoryPerFile))
	require.Less(t, found, int64(memoryPerFile))
	require.Greater(t, min(made, found), int64(100), "this measured nothing")
}

// TestMountReadsUsedPages counts what a mount of a clean store reads: the metadata pages in use, one for each file, in
// large reads, and little else.
func TestMountReadsUsedPages(t *testing.T) {
	dev := emptyForMany(t)
	fs, err := Open(dev, Options{})
	require.NoError(t, err)
	makeMany(t, fs)
	used := fs.store.Info().UsedMDPages
	require.LessOrEqual(t, used, int64(manyFiles+2), "one for each file, the root and the journal")
	require.NoError(t, fs.Close())
	before := dev.Stats()
	fs, err = Open(dev, Options{})
	require.NoError(t, err)
	now := dev.Stats()
	since := now.Since(before)
	reads := since.Of(bdev.OpRead)
	require.NoError(t, fs.Close())
	const others = 1 << 20 // superblock, masks and the journal's headers
	require.LessOrEqual(t, reads.Bytes, uint64(used*blobstore.BlockSize+others))
	require.LessOrEqual(t, reads.Latency.Count, uint64(used*blobstore.BlockSize/(512<<10)+20))
}

// memoryInUse is what the heap holds that is reachable, and the device memory besides.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC() // what the first one moved out of pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) + dmabuf.Held()
}
