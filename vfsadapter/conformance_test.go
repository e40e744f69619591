package vfsadapter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// newFS mounts a fresh BlobFS in RAM; the test ends with unmounting it and checking it.
func newFS(t testing.TB, device string, o Options) *FS {
	t.Helper()
	dev, err := open.Device(device, open.Options{Create: true})
	require.NoError(t, err)
	var format blobfs.FormatOptions
	if dev.Size() >= 1<<30 {
		format.MDPages = 1 << 15 // some of Pebble's random options make thousands of files
	}
	require.NoError(t, blobfs.Format(dev, format))
	bfs, err := blobfs.Open(dev, blobfs.Options{})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, bfs.Close())
		requireClean(t, dev)
		require.NoError(t, dev.Close())
	})
	return New(bfs, o)
}

// requireClean is a full check of the file system on an unmounted device.
func requireClean(t testing.TB, dev *bdev.Device) {
	t.Helper()
	report, err := blobfs.Check(dev, blobstore.CheckOptions{})
	require.NoError(t, err)
	require.True(t, report.OK(), "%v", report)
}

// TestLikeMemFS runs every script on Pebble's own file system in memory and on ours: they must print alike.
func TestLikeMemFS(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.script")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want := runScript(t, vfs.NewMem(), path)
			require.Equal(t, want, runScript(t, newFS(t, "malloc:64MiB", Options{}), path))
		})
	}
}

// TestErrors checks the three questions that Pebble asks of an error, and the context that people need.
func TestErrors(t *testing.T) {
	fs := newFS(t, "malloc:64MiB", Options{})
	_, err := fs.Open("/db/000001.sst")
	require.True(t, oserror.IsNotExist(err), "%v", err)
	require.ErrorContains(t, err, "/db/000001.sst")

	require.NoError(t, fs.MkdirAll("/db", 0o700))
	f, err := fs.Create("/db/a", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	err = fs.Link("/db/a", "/db/a")
	require.True(t, oserror.IsExist(err), "%v", err)

	_, err = fs.Lock("/db/LOCK")
	require.NoError(t, err)
	_, err = fs.Lock("db/LOCK") // the same path
	require.ErrorIs(t, err, syscall.EAGAIN)

	_, err = fs.OpenDir("/db/a")
	require.ErrorIs(t, err, syscall.ENOTDIR)
}

// TestNoSpace fills the device: the error is the one that Pebble's helper recognises, reading goes on, and removing
// makes room.
func TestNoSpace(t *testing.T) {
	fs := newFS(t, "malloc:16MiB", Options{})
	f, err := fs.Create("/big", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	chunk := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(chunk)
	}
	require.True(t, vfs.IsNoSpaceError(err), "%v", err)
	require.NoError(t, f.Close())
	require.NoError(t, fs.Remove("/big"))
	d, err := fs.OpenDir("/")
	require.NoError(t, err)
	require.NoError(t, d.Sync())
	f, err = fs.Create("/again", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(chunk)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// TestFloor checks who may use the last bytes.
func TestFloor(t *testing.T) {
	avail := int64(100)
	fs := newFS(t, "malloc:64MiB", Options{CompactionFloor: 50, Available: func() int64 { return avail }})
	fs.refusals.delay = time.Microsecond
	create := func(category vfs.DiskWriteCategory) vfs.File {
		f, err := fs.Create("/f", category)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, f.Close()) })
		return f
	}
	write := func(f vfs.File) error {
		_, err := f.Write(make([]byte, 10))
		return err
	}
	for _, category := range []vfs.DiskWriteCategory{"pebble-compaction", "pebble-blob-file-rewrite"} {
		avail = 60
		f := create(category)
		require.NoError(t, write(f))
		require.True(t, vfs.IsNoSpaceError(write(f)), "the clusters it may take ahead count")
		avail = 70
		require.NoError(t, write(f))
		avail = 59
		require.True(t, vfs.IsNoSpaceError(write(create(category))))
	}
	avail = 0
	for _, category := range []vfs.DiskWriteCategory{"pebble-wal", "pebble-memtable-flush", "pebble-manifest"} {
		require.NoError(t, write(create(category)), category)
	}
}

// TestDirHandle checks that an open directory is the directory, not its path, and that nothing works after Close.
func TestDirHandle(t *testing.T) {
	fs := newFS(t, "malloc:64MiB", Options{})
	require.NoError(t, fs.MkdirAll("/d", 0o700))
	d, err := fs.OpenDir("/d")
	require.NoError(t, err)
	before, err := d.Stat()
	require.NoError(t, err)
	require.True(t, before.IsDir())
	require.NoError(t, fs.Rename("/d", "/moved"))
	f, err := fs.Create("/d", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	after, err := d.Stat()
	require.NoError(t, err)
	require.True(t, after.IsDir(), "the file that took the name")
	require.Equal(t, before.Sys().(blobfs.Info).ID, after.Sys().(blobfs.Info).ID)
	require.NoError(t, d.Sync())
	require.NoError(t, fs.Remove("/moved"))
	_, err = d.Stat()
	require.NoError(t, err, "removed while open")

	require.NoError(t, d.Close())
	_, err = d.Stat()
	require.ErrorIs(t, err, blobfs.ErrClosed)
	require.ErrorIs(t, d.Sync(), blobfs.ErrClosed)
	require.ErrorIs(t, d.Close(), blobfs.ErrClosed)
}

// TestReadOnlyLock checks that a read-only mount can be locked although nothing may be created.
func TestReadOnlyLock(t *testing.T) {
	dev, err := open.Device("malloc:64MiB", open.Options{Create: true})
	require.NoError(t, err)
	defer dev.Close()
	require.NoError(t, blobfs.Format(dev, blobfs.FormatOptions{}))
	bfs, err := blobfs.Open(dev, blobfs.Options{ReadOnly: true})
	require.NoError(t, err)
	defer bfs.Close()
	fs := New(bfs, Options{})
	l, err := fs.Lock("/LOCK")
	require.NoError(t, err)
	_, err = fs.Lock("/LOCK")
	require.ErrorIs(t, err, syscall.EAGAIN)
	require.NoError(t, l.Close())
	require.NoError(t, l.Close(), "twice does nothing")
	_, err = fs.Create("/f", vfs.WriteCategoryUnspecified)
	require.Error(t, err)
	require.False(t, oserror.IsNotExist(err))
}

// TestDescriptor checks that Pebble's wrapper will use SyncTo and Preallocate.
func TestDescriptor(t *testing.T) {
	fs := newFS(t, "malloc:64MiB", Options{})
	f, err := fs.Create("/f", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	defer f.Close()
	require.NotEqual(t, vfs.InvalidFd, f.Fd())
	full, err := f.SyncTo(1 << 20)
	require.NoError(t, err)
	require.False(t, full, "a promise that nobody asked for")
}

// TestDiskUsage checks that the numbers add up and follow the files.
func TestDiskUsage(t *testing.T) {
	fs := newFS(t, "malloc:64MiB", Options{})
	before, err := fs.GetDiskUsage("/")
	require.NoError(t, err)
	require.LessOrEqual(t, before.AvailBytes+before.UsedBytes, before.TotalBytes)
	f, err := fs.Create("/f", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 8<<20))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	after, err := fs.GetDiskUsage("/")
	require.NoError(t, err)
	require.LessOrEqual(t, after.AvailBytes+8<<20, before.AvailBytes)
	require.Nil(t, fs.Unwrap())
}

// TestConcurrentDirSync overlaps directory syncs with changes of names, as Pebble does.
func TestConcurrentDirSync(t *testing.T) {
	fs := newFS(t, "malloc:64MiB", Options{})
	d, err := fs.OpenDir("/")
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("/%d-%d", g, i)
				f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
				if err != nil || f.Close() != nil || d.Sync() != nil || fs.Remove(name) != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	names, err := fs.List("/")
	require.NoError(t, err)
	require.Empty(t, names)
}

// TestRandomAgainstMemFS does random things to a few names on both file systems and compares every answer.
func TestRandomAgainstMemFS(t *testing.T) {
	for range randomRuns {
		seed := uint64(time.Now().UnixNano())
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			pair := newPair(t)
			for i := range 1500 {
				op, mem, ours := pair.step(rng)
				require.Equal(t, mem, ours, "step %d: %s", i, op)
			}
			pair.close(t)
		})
	}
}

// pair is one workload on two file systems.
type pair struct {
	fs   [2]vfs.FS // MemFS, ours
	open map[string][2]vfs.File
}

var pairNames = []string{"/a", "/b", "/d/a", "/d/b", "/d/c"}

func newPair(t *testing.T) *pair {
	p := &pair{fs: [2]vfs.FS{vfs.NewMem(), newFS(t, "malloc:64MiB", Options{})}, open: map[string][2]vfs.File{}}
	for _, fs := range p.fs {
		require.NoError(t, fs.MkdirAll("/d", 0o700))
	}
	return p
}

// step does one random thing to both and returns their answers.
func (p *pair) step(rng *rand.Rand) (op, mem, ours string) {
	a, b := pairNames[rng.IntN(len(pairNames))], pairNames[rng.IntN(len(pairNames))]
	n, off := rng.IntN(20000), rng.IntN(40000)
	if rng.IntN(3) == 0 {
		n = rng.IntN(200)
	}
	data := make([]byte, n+1)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	kind := rng.IntN(12)
	op = fmt.Sprint(kind, " ", a, " ", b, " n=", n, " off=", off)
	f, isOpen := p.open[a]
	if kind == 8 && p.sameFile(a, b) {
		kind = -1
	}
	return op, p.one(0, kind, a, b, data, off, f[0], isOpen), p.one(1, kind, a, b, data, off, f[1], isOpen)
}

// one does one thing on one of the two.
func (p *pair) one(i, kind int, a, b string, data []byte, off int, f vfs.File, isOpen bool) string {
	fs := p.fs[i]
	switch {
	case kind == 0 && !isOpen:
		return p.remember(i, a)(fs.Create(a, vfs.WriteCategoryUnspecified))
	case kind > 0 && kind <= 5 && isOpen:
		return count(f.Write(bytes.Clone(data))) // MemFS changes it in builds with invariants
	case kind == 6 && isOpen:
		buf := make([]byte, len(data))
		n, err := f.ReadAt(buf, int64(off))
		return fmt.Sprintf("%x %s", buf[:n], class(err))
	case kind == 7 && isOpen:
		if i == 1 {
			delete(p.open, a)
		}
		return class(errors.Join(f.Sync(), f.Close()))
	case kind == 8:
		return class(fs.Rename(a, b))
	case kind == 9:
		return class(fs.Link(a, b))
	case kind == 10:
		return class(fs.Remove(a))
	case kind == 11:
		return whole(fs, a)
	default:
		return describe(fs.Stat(a))
	}
}

// sameFile reports that two names are links of one file. Renaming one to the other does nothing, as os.Rename says, but
// removes the old name in MemFS.
func (p *pair) sameFile(a, b string) bool {
	x, errX := p.fs[1].Stat(a)
	y, errY := p.fs[1].Stat(b)
	return errX == nil && errY == nil && x.Sys().(blobfs.Info).ID == y.Sys().(blobfs.Info).ID
}

// remember keeps an open file under its name until it is closed, whatever happens to the name.
func (p *pair) remember(i int, name string) func(vfs.File, error) string {
	return func(f vfs.File, err error) string {
		if err == nil {
			both := p.open[name]
			both[i] = f
			p.open[name] = both
		}
		return class(err)
	}
}

// whole is the content of a file through a handle of its own.
func whole(fs vfs.FS, name string) string {
	f, err := fs.Open(name)
	if err != nil {
		return class(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	return fmt.Sprintf("%x %s", data, class(err))
}

func (p *pair) close(t *testing.T) {
	for _, both := range p.open {
		require.NoError(t, both[0].Close())
		require.NoError(t, both[1].Close())
	}
}
