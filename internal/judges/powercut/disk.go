package powercut

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

const (
	diskSize    = 96 << 20
	clusterSize = 64 << 10 // small, so that files cross many of them
	writeBuffer = 1 << 20  // small, so that much is written behind the application's back
)

// mounted is a blobfs on a device.
type mounted struct {
	dev *bdev.Device
	fs  *blobfs.FS
}

// mount opens the disk and the file system on it. Without an error it is unmounted with close.
func mount(disk *crashbdev.Disk) (*mounted, error) {
	dev, err := disk.Open("disk")
	if err != nil {
		return nil, err
	}
	fs, err := blobfs.Open(dev, blobfs.Options{WriteBufferBytes: writeBuffer})
	if err != nil {
		_ = dev.Close() // the first error says more
		return nil, err
	}
	return &mounted{dev, fs}, nil
}

func (m *mounted) close() error {
	err := m.fs.Close()
	if e := m.dev.Close(); err == nil {
		err = e
	}
	return err
}

// newDisk draws a kind of disk and formats it.
func newDisk(t testing.TB, rng *rand.Rand) *crashbdev.Disk {
	o := crashbdev.Options{Size: diskSize, Sparse: rng.IntN(2) == 0}
	if rng.IntN(2) == 0 {
		o.CompletionSeed = rng.Uint64() | 1
	}
	if rng.IntN(3) == 0 {
		o.BlockSize, o.AtomicWriteUnit = 4096, 4096
	}
	format := blobfs.FormatOptions{FormatOptions: blobstore.FormatOptions{ClusterSize: clusterSize}}
	if rng.IntN(2) == 0 {
		format.JournalSize = 256 << 10 // checkpoints while the application works
	}
	disk := crashbdev.New(o)
	dev, err := disk.Open("disk")
	require.NoError(t, err)
	require.NoError(t, blobfs.Format(dev, format))
	require.NoError(t, dev.Close())
	return disk
}

// NewFS returns an empty file system in memory for tests without power cuts. It is closed and checked at the end.
func NewFS(t testing.TB, size int64) *blobfs.FS {
	t.Helper()
	backend, err := mallocbdev.New(mallocbdev.Config{Size: size})
	require.NoError(t, err)
	dev, err := bdev.New("ram", backend, bdev.Options{})
	require.NoError(t, err)
	format := blobfs.FormatOptions{FormatOptions: blobstore.FormatOptions{ClusterSize: clusterSize}}
	require.NoError(t, blobfs.Format(dev, format))
	fs, err := blobfs.Open(dev, blobfs.Options{WriteBufferBytes: writeBuffer})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, fs.Close())
		require.NoError(t, check(dev))
		require.NoError(t, dev.Close())
	})
	return fs
}

// check demands that a file system that is not mounted has no findings.
func check(dev *bdev.Device) error {
	report, err := blobfs.Check(dev, blobstore.CheckOptions{})
	if err != nil {
		return err
	}
	for _, f := range report.Findings {
		if f.Severity > blobstore.SeverityInfo {
			return fmt.Errorf("check: %v", f)
		}
	}
	return nil
}
