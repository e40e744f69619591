package blobfs

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/blobstore"
)

// benchFS is a file system on a RAM device.
func benchFS(b *testing.B, size int64, o FormatOptions) (*FS, *blobstore.Device) {
	b.Helper()
	dev := ramDevice(b, size)
	require.NoError(b, Format(dev, o))
	fs, err := Open(dev, Options{})
	require.NoError(b, err)
	return fs, dev
}

// BenchmarkMount mounts and closes a file system of 10,000 files.
func BenchmarkMount(b *testing.B) {
	o := FormatOptions{FormatOptions: blobstore.FormatOptions{ClusterSize: 16 << 10, MDPages: 12_000}}
	fs, dev := benchFS(b, 512<<20, o)
	for i := range 10_000 {
		f, err := fs.Create(fmt.Sprintf("/%06d.sst", i))
		require.NoError(b, err)
		_, err = f.Write([]byte("content"))
		require.NoError(b, err)
		require.NoError(b, f.Close())
	}
	require.NoError(b, fs.Close())
	b.ReportAllocs()
	for b.Loop() {
		b.StartTimer()
		fs, err := Open(dev, Options{ReadOnly: true})
		b.StopTimer()
		require.NoError(b, err)
		require.NoError(b, fs.Close())
		b.StartTimer()
	}
}

// BenchmarkAppendSync is a write-ahead log: 200 bytes and a sync.
func BenchmarkAppendSync(b *testing.B) {
	fs, _ := benchFS(b, 1<<30, FormatOptions{})
	f, err := fs.Create("/log")
	require.NoError(b, err)
	p := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Write(p); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, fs.Close())
}

// BenchmarkReuseSync is BenchmarkAppendSync over a recycled log.
func BenchmarkReuseSync(b *testing.B) {
	fs, _ := benchFS(b, 1<<30, FormatOptions{})
	f, err := fs.Create("/log")
	require.NoError(b, err)
	_, err = f.Write(make([]byte, 64<<20))
	require.NoError(b, err)
	require.NoError(b, f.Close())
	f, err = fs.Reuse("/log", "/log2")
	require.NoError(b, err)
	p := make([]byte, 200)
	b.ReportAllocs()
	for off := int64(0); b.Loop(); off = (off + 200) % (32 << 20) {
		if _, err := f.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, fs.Close())
}

// BenchmarkAppend is a table that is written in pieces of 4 KiB.
func BenchmarkAppend(b *testing.B) {
	fs, _ := benchFS(b, 1<<30, FormatOptions{})
	f, err := fs.Create("/table")
	require.NoError(b, err)
	p := make([]byte, 4<<10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for off := int64(0); b.Loop(); off = (off + int64(len(p))) % (512 << 20) {
		if _, err := f.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, fs.Close())
}

// BenchmarkReadAt reads 4 KiB at odd offsets from many goroutines.
func BenchmarkReadAt(b *testing.B) {
	fs, _ := benchFS(b, 256<<20, FormatOptions{})
	f, err := fs.Create("/table")
	require.NoError(b, err)
	_, err = f.Write(make([]byte, 64<<20))
	require.NoError(b, err)
	require.NoError(b, f.Sync())
	require.NoError(b, f.Close())
	f, err = fs.Open("/table")
	require.NoError(b, err)
	b.SetBytes(4 << 10)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		rng := rngOf(1, 1)
		p := make([]byte, 4<<10)
		for pb.Next() {
			if _, err := f.ReadAt(p, rng.Int64N(63<<20)|1); err != nil {
				b.Error(err)
				return
			}
		}
	})
	require.NoError(b, f.Close())
	require.NoError(b, fs.Close())
}
