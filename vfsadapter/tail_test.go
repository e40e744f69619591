package vfsadapter

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// tableKeys is how many keys the table of the test and the benchmark has: about 2 MiB, Pebble's usual size.
const tableKeys = 17_000

func tableKey(i int) []byte { return fmt.Appendf(nil, "%010d", i) }

// writeSST has Pebble write a table.
func writeSST(t testing.TB, fs *FS) {
	t.Helper()
	f, err := fs.Create("/000001.sst", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), sstable.WriterOptions{
		TableFormat: sstable.TableFormatPebblev4, FilterPolicy: bloom.FilterPolicy(10),
	})
	rng := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 110)
	for i := range tableKeys {
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		require.NoError(t, w.Set(tableKey(i), value))
	}
	require.NoError(t, w.Close())
}

// readColdKey opens the table and reads its first key.
func readColdKey(t testing.TB, fs *FS) {
	t.Helper()
	f := openTable(t, fs, "/000001.sst", vfs.RandomReadsOption)
	readable, err := sstable.NewSimpleReadable(f)
	require.NoError(t, err)
	r, err := sstable.NewReader(t.Context(), readable, sstable.ReaderOptions{})
	require.NoError(t, err)
	it, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	require.NoError(t, err)
	key := it.First()
	require.NotNil(t, key)
	require.NoError(t, it.Close())
	require.NoError(t, r.Close())
}

// TestOpeningATableIsOneRead counts the reads of the device that the first key of a table costs: one of the table's end
// and one of the block that holds the key.
func TestOpeningATableIsOneRead(t *testing.T) {
	fs := newFS(t, "malloc:64MiB", Options{})
	writeSST(t, fs)
	require.EqualValues(t, 2, readsOf(fs, func() { readColdKey(t, fs) }))
}

// TestTail reads the end of a table in every way in which it is not what it was.
func TestTail(t *testing.T) {
	fs := newFS(t, "malloc:64MiB", Options{})
	content := make([]byte, 300_000)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	writeTable(t, fs, "/t", content)
	size := len(content)
	open := func() vfs.File { return openTable(t, fs, "/t", vfs.RandomReadsOption) }
	footer := func(f vfs.File) int64 { return readsOf(fs, func() { requireRead(t, f, content, size-53, 53) }) }
	for name, c := range map[string]struct {
		read func(t *testing.T, f vfs.File)
		want int64 // reads of the device
	}{
		"end":    {func(t *testing.T, f vfs.File) { requireRead(t, f, content, size-tailSize, 5_000) }, 0},
		"across": {func(t *testing.T, f vfs.File) { requireRead(t, f, content, size-tailSize-1, 5_000) }, 1},
		"elsewhere": {func(t *testing.T, f vfs.File) {
			requireRead(t, f, content, 0, 5_000)
			requireRead(t, f, content, size-100, 50)
		}, 2},
		"often": {func(t *testing.T, f vfs.File) {
			for i := range tailReads {
				requireRead(t, f, content, size-100*i-100, 50)
			}
		}, 1},
		"written": {func(t *testing.T, f vfs.File) {
			w, err := fs.OpenReadWrite("/t", vfs.WriteCategoryUnspecified)
			require.NoError(t, err)
			content[size-200]++
			_, err = w.WriteAt(content[size-200:size-199], int64(size-200))
			require.NoError(t, err)
			requireRead(t, f, content, size-300, 200)
			require.NoError(t, w.Close())
			requireRead(t, f, content, size-300, 200)
		}, -1},
		"distrusted": {func(t *testing.T, f vfs.File) {
			require.NoError(t, fs.Distrust("/t"))
			requireRead(t, f, content, size-300, 200)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := open()
			require.EqualValues(t, 1, footer(f))
			reads := readsOf(fs, func() { c.read(t, f) })
			if c.want >= 0 {
				require.Equal(t, c.want, reads)
			}
			require.NoError(t, f.Close())
		})
	}
	f := open()
	require.EqualValues(t, 1, readsOf(fs, func() { requireRead(t, f, content, 10, 100) }), "no footer, no tail")
	require.EqualValues(t, 1, readsOf(fs, func() { requireRead(t, f, content, size-100, 50) }))
	require.NoError(t, f.Close())
}

// TestTailsAreBounded opens tables and reads nothing but their footers, as for compactions, and looks who has its end.
func TestTailsAreBounded(t *testing.T) {
	fs := newFS(t, "malloc:64MiB", Options{})
	content := make([]byte, 200_000)
	writeTable(t, fs, "/t", content)
	var files []vfs.File
	for range maxTails + 3 {
		f := openTable(t, fs, "/t", vfs.RandomReadsOption)
		require.EqualValues(t, 1, readsOf(fs, func() { requireRead(t, f, content, len(content)-53, 53) }))
		files = append(files, f)
	}
	for i, f := range files {
		want := int64(0)
		if i < 3 {
			want = 1
		}
		require.Equal(t, want, readsOf(fs, func() { requireRead(t, f, content, len(content)-1000, 100) }), "table %d", i)
		require.NoError(t, f.Close())
	}
}

// TestTailConcurrently opens a table and reads it from many goroutines at once.
func TestTailConcurrently(t *testing.T) {
	fs := newFS(t, "malloc:64MiB", Options{})
	content := make([]byte, 200_000)
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	writeTable(t, fs, "/t", content)
	for range 100 {
		f := openTable(t, fs, "/t", vfs.RandomReadsOption)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 10 {
					off := len(content) - 53 - 3_000*g*i
					p := make([]byte, 53)
					if _, err := f.ReadAt(p, int64(off)); err != nil || string(p) != string(content[off:off+53]) {
						t.Errorf("read at %d: %v", off, err)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, f.Close())
	}
}

// BenchmarkColdTable opens a table on an image file and reads one key.
func BenchmarkColdTable(b *testing.B) {
	fs := newFS(b, "aio:"+b.TempDir()+"/cold.img?size=256MiB", Options{})
	writeSST(b, fs)
	reads := readsOf(fs, func() { readColdKey(b, fs) })
	for b.Loop() {
		readColdKey(b, fs)
	}
	b.ReportMetric(float64(reads), "reads")
}
