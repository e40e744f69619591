package blobfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	opener "github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobstore"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// benchFiles is how many small files the store of BenchmarkOpen has.
const benchFiles = 100_000

// BenchmarkOpen mounts a store of 100,000 small files, on RAM and on an image file that is read past the host's cache,
// after a clean close and after a crash that left the journal as full as it gets. Besides the time it reports the bytes
// read and their rate, that of the same metadata read by itself in 1 MiB reads, and the memory a file takes. The image
// is made in BLOBKV_BENCH_DIR, or where temporary files go.
func BenchmarkOpen(b *testing.B) {
	dir := os.Getenv("BLOBKV_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	image := filepath.Join(dir, "open-bench.img")
	for _, kind := range []struct{ name, device string }{
		{"ram", "malloc:3GiB"},
		{"image", "aio:" + image + "?size=3GiB"},
	} {
		b.Run(kind.name, func(b *testing.B) {
			dev, err := opener.Device(kind.device, opener.Options{Create: true})
			require.NoError(b, err)
			defer func() {
				require.NoError(b, dev.Close())
				_ = os.Remove(image)
			}()
			crashed := makeManyFiles(b, dev)
			for _, state := range []string{"crash", "clean"} {
				b.Run(state, func(b *testing.B) {
					o := openBench{b: b, dev: dev}
					for b.Loop() {
						b.StopTimer()
						if state == "crash" {
							crashed.restore(b, dev)
						}
						o.open()
						b.StartTimer()
					}
					o.report()
				})
			}
		})
	}
}

// makeManyFiles fills a device with files and the journal with as much as a crash can leave to replay. It returns the
// metadata as it is then, and closes the file system.
func makeManyFiles(b *testing.B, dev *bdev.Device) savedMetadata {
	o := FormatOptions{FormatOptions: blobstore.FormatOptions{ClusterSize: 16 << 10, MDPages: benchFiles + 4096}}
	require.NoError(b, Format(dev, o))
	fs, err := Open(dev, Options{})
	require.NoError(b, err)
	content := pattern(4000, 1)
	for i := range benchFiles {
		f, err := fs.Create(fmt.Sprintf("/%06d.sst", i))
		require.NoError(b, err)
		_, err = f.Write(content)
		require.NoError(b, err)
		require.NoError(b, f.Close())
	}
	require.NoError(b, fs.endAll((*fileData).finish))
	fillJournal(b, fs)
	saved := saveMetadata(b, fs.store)
	require.NoError(b, fs.Close())
	return saved
}

// A checkpoint begins when the changes of half of the image area or half of the ring are waiting; these two come close.
const (
	waitingRenames = 800
	waitingSyncs   = 2000
)

func fillJournal(b *testing.B, fs *FS) {
	for i := range waitingRenames {
		name := fmt.Sprintf("/%06d.sst", i*(benchFiles/waitingRenames))
		require.NoError(b, fs.Rename(name, name+"x"))
	}
	f, err := fs.Create("/log")
	require.NoError(b, err)
	for range waitingSyncs {
		_, err = f.Write([]byte("record"))
		require.NoError(b, err)
		require.NoError(b, f.Sync())
	}
	require.NoError(b, f.Close())
}

// savedMetadata is what the parts of a device held that a mount changes.
type savedMetadata []savedPart

type savedPart struct {
	off  int64
	data []byte
}

func saveMetadata(b *testing.B, store *blobstore.Store) savedMetadata {
	info := store.Info()
	journal, err := store.Stat(info.Journal)
	require.NoError(b, err)
	saved := savedMetadata{{0, make([]byte, (info.MDStart+info.UsedMDPages+1)*blobstore.BlockSize)}}
	for _, e := range journal.Extents {
		saved = append(saved, savedPart{e.Physical * int64(info.ClusterSize), make([]byte, e.Count*int64(info.ClusterSize))})
	}
	for _, part := range saved {
		require.NoError(b, store.Device().Read(part.data, part.off))
	}
	b.Logf("%d KiB of the journal's %d are in use", info.JournalUsed>>10, info.JournalSize>>10)
	return saved
}

func (s savedMetadata) restore(b *testing.B, dev *bdev.Device) {
	for _, part := range s {
		require.NoError(b, dev.Write(part.data, part.off))
	}
	require.NoError(b, dev.Flush())
}

// openBench mounts, again and again, and adds up.
type openBench struct {
	b      *testing.B
	dev    *bdev.Device
	mounts int
	took   time.Duration
	read   time.Duration // of it, until the last metadata page had been read
	plain  time.Duration // what reading as many bytes takes by itself, each time right after the mount
	bytes  uint64
	memory int64 // bytes per file, of the last mount
}

func (o *openBench) open() {
	memory := memoryInUse()
	before := o.dev.Stats()
	start := time.Now()
	o.b.StartTimer()
	var read time.Duration
	fs, err := Open(o.dev, Options{Progress: func(int64, int64) { read = time.Since(start) }})
	o.b.StopTimer()
	o.took += time.Since(start)
	o.read += read
	require.NoError(o.b, err)
	since := o.dev.Stats()
	since = since.Since(before)
	bytes := since.Of(bdev.OpRead).Bytes
	o.bytes += bytes
	o.plain += sequentialRead(o.b, o.dev, int64(bytes))
	o.mounts++
	o.memory = (memoryInUse() - memory) / benchFiles
	require.NoError(o.b, fs.Close())
}

func (o *openBench) report() {
	n := float64(o.mounts)
	mb := float64(o.bytes) / 1e6
	o.b.ReportMetric(mb/n, "MB-read")
	o.b.ReportMetric(o.read.Seconds()*1e3/n, "ms-reading")
	o.b.ReportMetric(mb/o.plain.Seconds(), "sequential-MB/s")
	o.b.ReportMetric(o.plain.Seconds()/o.read.Seconds(), "of-sequential")
	o.b.ReportMetric(float64(o.memory), "B/file")
}

// sequentialRead is how long a device takes to give its first n bytes in reads of 1 MiB, eight at a time, as blobcli bdev
// perf makes them.
func sequentialRead(b *testing.B, dev *bdev.Device, n int64) time.Duration {
	const depth, size = 8, 1 << 20
	ch, err := dev.OpenChannel()
	require.NoError(b, err)
	mem := dmabuf.NewPool(depth * size)
	var idle []*bdev.Request
	for range depth {
		r := bdev.GetRequest()
		r.Op, r.Buf = bdev.OpRead, mem.Get(size)
		idle = append(idle, r)
	}
	done := make([]*bdev.Request, depth)
	start := time.Now()
	for off, out := int64(0), 0; off < n || out > 0; {
		for ; len(idle) > 0 && off < n; off += size {
			r := idle[len(idle)-1]
			idle = idle[:len(idle)-1]
			r.Offset = off
			require.Equal(b, 1, ch.Submit([]*bdev.Request{r}))
			out++
		}
		k := ch.Wait(done)
		for _, r := range done[:k] {
			require.NoError(b, r.Err())
		}
		idle = append(idle, done[:k]...)
		out -= k
	}
	took := time.Since(start)
	for _, r := range idle {
		mem.Put(r.Buf)
		bdev.PutRequest(r)
	}
	require.NoError(b, mem.Close())
	require.NoError(b, ch.Close())
	return took
}
