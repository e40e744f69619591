package vfsadapter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/faultbdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
	"github.com/blobkv/blobkv/blobfs"
)

// newCachedFS is a fresh file system behind a cache.
func newCachedFS(t testing.TB, cacheBytes int64) *FS {
	t.Helper()
	return newFS(t, "malloc:64MiB", Options{Cache: newCache(t, cacheBytes)})
}

// writeTable writes a file as Pebble writes a table.
func writeTable(t testing.TB, fs *FS, name string, content []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(content)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func openTable(t testing.TB, fs *FS, name string, opts ...vfs.OpenOption) vfs.File {
	t.Helper()
	f, err := fs.Open(name, opts...)
	require.NoError(t, err)
	return f
}

// readsOf returns how many reads of the device something took.
func readsOf(fs *FS, do func()) int64 {
	before := fs.fs.Stats().DeviceReads
	do()
	return fs.fs.Stats().DeviceReads - before
}

// requireRead reads a range and compares it.
func requireRead(t testing.TB, f vfs.File, content []byte, off, n int) {
	t.Helper()
	p := make([]byte, n)
	got, err := f.ReadAt(p, int64(off))
	require.NoError(t, err)
	require.Equal(t, n, got)
	require.True(t, bytes.Equal(content[off:off+n], p))
}

func randomBytes(seed uint64, n int) []byte { return blockOf(blockKey{seed, 0}, n) }

// TestCachedRead counts the reads that reach the device.
func TestCachedRead(t *testing.T) {
	fs := newCachedFS(t, 1<<20)
	content := randomBytes(1, 100_000)
	writeTable(t, fs, "/t", content)
	f := openTable(t, fs, "/t", vfs.RandomReadsOption)
	read := func(f vfs.File, off, n int) int64 {
		return readsOf(fs, func() { requireRead(t, f, content, off, n) })
	}
	require.EqualValues(t, 1, read(f, 5000, 4321))
	require.Zero(t, read(f, 5000, 4321), "the same block")
	require.EqualValues(t, 1, read(f, 5000, 4320), "another range")
	require.EqualValues(t, 1, read(f, 5001, 4320), "and another")
	require.Zero(t, read(f, 5001, 4320))

	second := openTable(t, fs, "/t", vfs.RandomReadsOption)
	require.Zero(t, read(second, 5001, 4320), "through another handle")
	require.NoError(t, second.Close())
	require.NoError(t, f.Close())
	f = openTable(t, fs, "/t", vfs.RandomReadsOption)
	require.Zero(t, read(f, 5001, 4320), "after the last handle had gone")
	require.NoError(t, fs.Rename("/t", "/u"))
	require.Zero(t, read(f, 5001, 4320), "under another name")
	require.NoError(t, f.Close())
	_, err := f.ReadAt(make([]byte, 4320), 5001)
	require.ErrorIs(t, err, blobfs.ErrClosed)
}

// TestOnlyTablesAreCached opens a file in the other ways that Pebble does.
func TestOnlyTablesAreCached(t *testing.T) {
	fs := newCachedFS(t, 1<<20)
	content := randomBytes(2, 100_000)
	writeTable(t, fs, "/t", content)
	for _, opts := range [][]vfs.OpenOption{
		nil, {vfs.SequentialReadsOption}, {vfs.RandomReadsOption, vfs.SequentialReadsOption},
	} {
		f := openTable(t, fs, "/t", opts...)
		requireRead(t, f, content, 0, 4096)
		requireRead(t, f, content, 0, 4096)
		require.NoError(t, f.Close())
	}
	f, err := fs.OpenReadWrite("/t", vfs.WriteCategoryUnspecified, vfs.RandomReadsOption)
	require.NoError(t, err)
	requireRead(t, f, content, 0, 4096)
	require.NoError(t, f.Close())
	s := fs.opts.Cache.Stats()
	require.Zero(t, s.Blocks+s.Hits+s.Misses)
}

// TestCachedFileThatChanges: whoever opens a file for writing ends what is cached of it.
func TestCachedFileThatChanges(t *testing.T) {
	fs := newCachedFS(t, 1<<20)
	content := randomBytes(3, 50_000)
	writeTable(t, fs, "/t", content)
	f := openTable(t, fs, "/t", vfs.RandomReadsOption)
	requireRead(t, f, content, 8192, 4096)
	w, err := fs.OpenReadWrite("/t", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	for i := range 3 {
		copy(content[8192:], randomBytes(uint64(10+i), 4096))
		_, err = w.WriteAt(content[8192:8192+4096], 8192)
		require.NoError(t, err)
		requireRead(t, f, content, 8192, 4096)
	}
	require.NoError(t, w.Close())
	blocks := fs.opts.Cache.Stats().Blocks
	requireRead(t, f, content, 8192, 4096)
	require.Equal(t, blocks+1, fs.opts.Cache.Stats().Blocks, "it does not change any more")
	require.NoError(t, f.Close())
}

// TestCachedReadAtTheEnd: what is short is not a block.
func TestCachedReadAtTheEnd(t *testing.T) {
	fs := newCachedFS(t, 1<<20)
	content := randomBytes(4, 10_000)
	writeTable(t, fs, "/t", content)
	f := openTable(t, fs, "/t", vfs.RandomReadsOption)
	for range 2 {
		p := make([]byte, 500)
		n, err := f.ReadAt(p, 9_800)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, content[9_800:], p[:n])
		n, err = f.ReadAt(p, 20_000)
		require.ErrorIs(t, err, io.EOF)
		require.Zero(t, n)
		_, err = f.ReadAt(p, -1)
		require.ErrorIs(t, err, blobfs.ErrInvalid)
		n, err = f.ReadAt(nil, 100)
		require.NoError(t, err)
		require.Zero(t, n)
	}
	require.Zero(t, fs.opts.Cache.Stats().Blocks)
	require.EqualValues(t, 1, readsOf(fs, func() {
		requireRead(t, f, content, 9_800, 200) // up to the very end
		requireRead(t, f, content, 9_800, 200)
	}))
	require.NoError(t, f.Close())
}

// TestReusedNames removes and replaces files whose blocks are cached, so that names and blob ids come back.
func TestReusedNames(t *testing.T) {
	fs := newCachedFS(t, 1<<20)
	var old vfs.File
	var oldContent []byte
	for i := range 30 {
		content := randomBytes(uint64(100+i), 9000)
		if i%3 == 0 {
			require.NoError(t, fs.RemoveAll("/t"))
		}
		writeTable(t, fs, "/t", content)
		f := openTable(t, fs, "/t", vfs.RandomReadsOption)
		for range 2 {
			requireRead(t, f, content, 0, 4096)
			requireRead(t, f, content, 4096, 4904)
		}
		if old != nil { // which has lost its name
			requireRead(t, old, oldContent, 0, 4096)
			require.NoError(t, old.Close())
		}
		old, oldContent = f, content
	}
	require.NoError(t, old.Close())
}

// TestCachedFilesConcurrently replaces files while others read them through tiny caches and a large one: every block is one
// of the content that the handle had.
func TestCachedFilesConcurrently(t *testing.T) {
	for _, size := range []int64{1, 16 << 10, 64 << 10, 4 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			fs := newCachedFS(t, size)
			var wg sync.WaitGroup
			for g := range 4 {
				rng := seeded(t)
				name := fmt.Sprintf("/t%d", g%2)
				wg.Go(func() {
					for range 30 {
						replaceAndRead(t, fs, name, rng)
					}
				})
			}
			wg.Wait()
		})
	}
}

// replaceAndRead opens what stands under a name, or puts new content there, and reads blocks of it. A block tells the
// content it is of.
func replaceAndRead(t *testing.T, fs *FS, name string, rng *rand.Rand) {
	const blocks, length = 40, 1500
	if rng.IntN(2) == 0 {
		content := make([]byte, 0, blocks*length)
		version := 1 + rng.Uint64()>>1
		for i := range blocks {
			content = append(content, blockOf(blockKey{version, int64(i * length)}, length)...)
		}
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = f.Write(content)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Error(err)
		}
		return
	}
	f, err := fs.Open(name, vfs.RandomReadsOption)
	if err != nil {
		return // not there yet
	}
	p := make([]byte, length)
	version := uint64(0)
	for range 200 {
		off := int64(rng.IntN(blocks) * length)
		if n, err := f.ReadAt(p, off); err != nil || n != length {
			continue // still being written
		}
		k := blockKey{uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 | uint64(p[4])<<32 |
			uint64(p[5])<<40 | uint64(p[6])<<48 | uint64(p[7])<<56, off}
		if version == 0 {
			version = k.version
		}
		if k.version != version || !bytes.Equal(p, blockOf(k, length)) {
			t.Errorf("%s at %d: bytes of another file or place", name, off)
			break
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// faultyFS is a file system with a cache on a device that fails on demand.
func faultyFS(t *testing.T) (*FS, *faultbdev.Backend) {
	t.Helper()
	ram, err := mallocbdev.New(mallocbdev.Config{Size: 64 << 20})
	require.NoError(t, err)
	faults := faultbdev.New(ram)
	dev, err := bdev.New("fault", faults, bdev.Options{})
	require.NoError(t, err)
	require.NoError(t, blobfs.Format(dev, blobfs.FormatOptions{}))
	bfs, err := blobfs.Open(dev, blobfs.Options{})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, bfs.Close())
		require.NoError(t, dev.Close())
	})
	return New(bfs, Options{Cache: newCache(t, 1<<20)}), faults
}

// TestFailedReadIsNotCached: after the device has recovered so have reads.
func TestFailedReadIsNotCached(t *testing.T) {
	fs, faults := faultyFS(t)
	content := randomBytes(5, 50_000)
	writeTable(t, fs, "/t", content)
	f := openTable(t, fs, "/t", vfs.RandomReadsOption)
	faults.Inject(faultbdev.Rule{Ops: faultbdev.Reads, Count: faultbdev.Always, Fault: faultbdev.Fail(bdev.ErrIO)})
	_, err := f.ReadAt(make([]byte, 4096), 100)
	require.ErrorIs(t, err, bdev.ErrIO)
	require.Zero(t, fs.opts.Cache.Stats().Blocks)
	faults.Clear()
	requireRead(t, f, content, 100, 4096)
	require.NoError(t, f.Close())
}

// TestDistrust: a device returns wrong bytes once, without an error. Whoever notices says so, and reads the device again;
// other files keep what is cached of them.
func TestDistrust(t *testing.T) {
	fs, faults := faultyFS(t)
	content, other := randomBytes(6, 50_000), randomBytes(7, 50_000)
	writeTable(t, fs, "/t", content)
	writeTable(t, fs, "/other", other)
	f := openTable(t, fs, "/t", vfs.RandomReadsOption)
	g := openTable(t, fs, "/other", vfs.RandomReadsOption)
	requireRead(t, g, other, 100, 4096)

	faults.Inject(faultbdev.Rule{Ops: faultbdev.Reads, Match: hasBytes, Fault: faultbdev.Corrupt()})
	p := make([]byte, 4096)
	_, err := f.ReadAt(p, 0)
	require.NoError(t, err)
	require.NotEqual(t, content[:4096], p)
	require.NoError(t, fs.Distrust("/t"))
	requireRead(t, f, content, 0, 4096)
	require.Zero(t, readsOf(fs, func() {
		requireRead(t, f, content, 0, 4096)
		requireRead(t, g, other, 100, 4096)
	}))
	require.ErrorIs(t, fs.Distrust("/gone"), os.ErrNotExist)
	require.NoError(t, f.Close())
	require.NoError(t, g.Close())
}

func hasBytes(r *bdev.Request) bool { return len(r.Buf) > 0 }

// TestCachedReadOnlyMount: nothing has to be written for a cache.
func TestCachedReadOnlyMount(t *testing.T) {
	ram, err := mallocbdev.New(mallocbdev.Config{Size: 64 << 20})
	require.NoError(t, err)
	dev, err := bdev.New("ram", ram, bdev.Options{})
	require.NoError(t, err)
	require.NoError(t, blobfs.Format(dev, blobfs.FormatOptions{}))
	bfs, err := blobfs.Open(dev, blobfs.Options{})
	require.NoError(t, err)
	content := randomBytes(8, 50_000)
	writeTable(t, New(bfs, Options{}), "/t", content)
	require.NoError(t, bfs.Close())

	bfs, err = blobfs.Open(dev, blobfs.Options{ReadOnly: true})
	require.NoError(t, err)
	fs := New(bfs, Options{Cache: newCache(t, 64<<10)})
	f := openTable(t, fs, "/t", vfs.RandomReadsOption)
	require.EqualValues(t, 1, readsOf(fs, func() {
		requireRead(t, f, content, 3, 4096)
		requireRead(t, f, content, 3, 4096)
	}))
	require.NoError(t, bfs.Close())
	_, err = f.ReadAt(make([]byte, 4096), 3)
	require.ErrorIs(t, err, blobfs.ErrClosed)
	require.NoError(t, dev.Close())
}
