package blobfs

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobstore"
)

// leftovers mounts a new file system, leaves n files behind the way a crash does and returns the disk after one.
func leftovers(t *testing.T, size, journal int64, n int, leave func(fs *FS, name string)) *crashbdev.Disk {
	t.Helper()
	disk := crashbdev.New(crashbdev.Options{Size: size})
	dev, err := disk.Open("before")
	require.NoError(t, err)
	o := FormatOptions{FormatOptions: blobstore.FormatOptions{ClusterSize: 64 << 10, JournalSize: journal}}
	require.NoError(t, Format(dev, o))
	fs, err := Open(dev, Options{})
	require.NoError(t, err)
	for i := range n {
		leave(fs, fmt.Sprint("/f", i))
	}
	require.NoError(t, fs.Sync())
	after := disk.Cut(crashbdev.KeepAll, 1)
	require.NoError(t, fs.Close())
	require.NoError(t, dev.Close())
	return after
}

func leaveUnlinked(t *testing.T) func(*FS, string) {
	return func(fs *FS, name string) {
		_, err := fs.Create(name)
		require.NoError(t, err)
		require.NoError(t, fs.Remove(name))
	}
}

func leaveGrown(t *testing.T) func(*FS, string) {
	return func(fs *FS, name string) {
		f, err := fs.Create(name)
		require.NoError(t, err)
		require.NoError(t, f.Preallocate(0, 1))
	}
}

// TestSweepOnSmallJournals: more files to clean up than one transaction of a small journal takes.
func TestSweepOnSmallJournals(t *testing.T) {
	for name, leave := range map[string]func(*FS, string){"unlinked": leaveUnlinked(t), "grown": leaveGrown(t)} {
		for _, c := range []struct {
			size, journal int64
			files         int
		}{{16 << 20, 0, 20}, {64 << 20, 0, 70}, {1 << 30, 256 << 10, 20}} {
			t.Run(fmt.Sprintf("%s/%d files on %d MiB", name, c.files, c.size>>20), func(t *testing.T) {
				disk := leftovers(t, c.size, c.journal, c.files, leave)
				dev, err := disk.Open("after")
				require.NoError(t, err)
				fs, err := Open(dev, Options{})
				require.NoError(t, err)
				require.NoError(t, fs.Close())
				requireSound(t, dev)
				require.NoError(t, dev.Close())
			})
		}
	}
}

// lockedDisk is a disk that cannot be written.
type lockedDisk struct{ *crashbdev.Disk }

func (d lockedDisk) Properties() bdev.Properties {
	p := d.Disk.Properties()
	p.ReadOnly = true
	return p
}

// TestReadOnlyDevice: a device that cannot be written is mounted for reading, whatever a crash left on it, and says why.
func TestReadOnlyDevice(t *testing.T) {
	disk := leftovers(t, 16<<20, 0, 3, func(fs *FS, name string) {
		f, err := fs.Create(name)
		require.NoError(t, err)
		_, err = f.Write([]byte(name))
		require.NoError(t, err)
		require.NoError(t, f.Preallocate(0, 1<<20))
		require.NoError(t, f.Sync())
		leaveUnlinked(t)(fs, name+"-gone")
	})
	dev, err := bdev.New("locked", lockedDisk{disk}, bdev.Options{})
	require.NoError(t, err)
	fs, err := Open(dev, Options{})
	require.NoError(t, err)
	e := &env{t: t, dev: dev, FS: fs}
	require.Contains(t, e.ReadOnlyReason(), "device")
	require.Equal(t, []string{"f0", "f1", "f2"}, e.names("/"))
	require.Equal(t, "/f1", string(e.read("/f1")))
	_, err = e.Create("/new")
	require.ErrorIs(t, err, ErrReadOnly)
	require.NoError(t, fs.Close())
	require.NoError(t, dev.Close())
	require.Zero(t, disk.Unflushed(), "nothing was written")
}
