package blobfs

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobstore"
)

// TestFormatIsAtomic: wherever the power goes while a file system is made, the device holds none, which can be made again
// without force, or the finished one with its root.
func TestFormatIsAtomic(t *testing.T) {
	made := 0
	for n := int64(1); ; n++ {
		disk := crashbdev.New(crashbdev.Options{Size: 8 << 20, AtomicWriteUnit: 512})
		disk.CutAfter(n)
		_ = Format(openedDisk(t, disk), smallStore)
		for seed := range uint64(8) {
			mode := crashbdev.Random
			if int(seed) < len(crashbdev.Modes()) {
				mode = crashbdev.Modes()[seed]
			}
			dev := openedDisk(t, disk.Cut(mode, seed))
			fs, err := Open(dev, Options{})
			if err == nil {
				made++
				require.NoError(t, fs.Close())
				requireSound(t, dev)
			} else {
				require.ErrorIs(t, err, blobstore.ErrNotBlobstore, "power cut at operation %d, mode %v, seed %d", n, mode, seed)
			}
			require.NoError(t, Format(dev, smallStore), "power cut at operation %d, mode %v, seed %d", n, mode, seed)
			fs, err = Open(dev, Options{})
			require.NoError(t, err)
			require.NoError(t, fs.Close())
			requireSound(t, dev)
		}
		if !disk.PoweredOff() {
			break
		}
	}
	require.NotZero(t, made)
}

func openedDisk(t *testing.T, disk *crashbdev.Disk) *bdev.Device {
	t.Helper()
	dev, err := disk.Open("crash:test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return dev
}

// TestStoreWithoutRoot: a store of our type that has no root directory is no file system, and may become one.
func TestStoreWithoutRoot(t *testing.T) {
	dev := ramDevice(t, 8<<20)
	require.NoError(t, blobstore.Format(dev, blobstore.FormatOptions{Type: StoreType}))
	_, err := Open(dev, Options{})
	require.ErrorIs(t, err, ErrNotFS)
	require.ErrorContains(t, err, "root")
	require.NoError(t, Format(dev, FormatOptions{}))
	fs, err := Open(dev, Options{})
	require.NoError(t, err)
	require.NoError(t, fs.Close())
}
