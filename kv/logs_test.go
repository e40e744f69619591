package kv

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobfs"
)

// eachLog calls f with every log of a closed store, opened for writing, and its content.
func eachLog(t *testing.T, device string, f func(file *blobfs.File, content []byte)) {
	t.Helper()
	fs, done := openRaw(t, device)
	defer done()
	files, err := fs.List(storeDir)
	require.NoError(t, err)
	for _, in := range files {
		if path.Ext(in.Name) != ".log" {
			continue
		}
		file, err := fs.OpenReadWrite(path.Join(storeDir, in.Name), false)
		require.NoError(t, err)
		content := make([]byte, in.Info.Size)
		if len(content) > 0 {
			_, err = file.ReadAt(content, 0)
			require.NoError(t, err)
		}
		f(file, content)
		require.NoError(t, file.Sync())
		require.NoError(t, file.Close())
	}
}

// flipInLogs flips a bit behind each place in the logs where the bytes are found, and returns how many.
func flipInLogs(t *testing.T, device string, find []byte) (flipped int) {
	t.Helper()
	eachLog(t, device, func(file *blobfs.File, content []byte) {
		for at := bytes.Index(content, find); at >= 0; {
			at += len(find)
			_, err := file.WriteAt([]byte{content[at] ^ 4}, int64(at))
			require.NoError(t, err)
			flipped++
			next := bytes.Index(content[at:], find)
			if next < 0 {
				break
			}
			at += next
		}
	})
	return flipped
}

// requireKeys checks that keys 0 to n-1 are there, and that no other is.
func requireKeys(t *testing.T, db *DB, n int) {
	t.Helper()
	for i := range n {
		requireValue(t, db, key(i), value(i, 100))
	}
	_, err := db.Get(key(n))
	require.ErrorIs(t, err, ErrNotFound)
}

// TestLogDamageAfterClose zeroes every log of a closed store: it depends on none, also for what was written without sync.
func TestLogDamageAfterClose(t *testing.T) {
	device := image(t)
	for round := range 3 { // the first log of a store, those of later sessions
		db := openTest(t, device, &Options{CreateIfMissing: true})
		for i := range 100 {
			require.NoError(t, db.Set(key(100*round+i), value(100*round+i, 100), NoSync))
		}
		require.NoError(t, db.Close())
		eachLog(t, device, func(file *blobfs.File, content []byte) {
			_, err := file.WriteAt(make([]byte, len(content)), 0)
			require.NoError(t, err)
		})
		db = openTest(t, device, nil)
		requireKeys(t, db, 100*(round+1))
		require.NoError(t, db.Close())
	}
}

// TestCloseWithoutRoom closes a store whose host is full, so that the log keeps what was written. A flipped bit in the very
// last record is found all the same.
func TestCloseWithoutRoom(t *testing.T) {
	device := image(t)
	db := openTest(t, device, &Options{CreateIfMissing: true})
	for i := range 100 {
		require.NoError(t, db.Set(key(i), value(i, 100), NoSync))
	}
	db.space.missing.Store(1 << 40)
	db.space.host = nil
	require.NoError(t, db.Close())

	require.Equal(t, 1, flipInLogs(t, device, key(99)))
	_, err := Open(device, nil)
	require.ErrorIs(t, err, ErrCorrupt)
	for _, part := range []string{strings.TrimSuffix(device, "?size=256MiB"), storeDir + "/", ".log is damaged at byte ", "of the device", "ReadOnly"} {
		require.ErrorContains(t, err, part)
	}
	db = openTest(t, device, &Options{ReadOnly: true})
	requireKeys(t, db, 99)
	m, err := db.Metrics()
	require.NoError(t, err)
	require.EqualValues(t, 1, m.CorruptReads)
	require.ErrorIs(t, m.LastBackgroundError, ErrCorrupt)
	require.NoError(t, db.Close())

	require.Equal(t, 1, flipInLogs(t, device, key(99))) // back
	db = openTest(t, device, nil)
	requireKeys(t, db, 100)
	entries, err := db.fs.List("/")
	require.NoError(t, err)
	require.Len(t, entries, 1, "the note is removed")
	require.NoError(t, db.Close())
	requireCleanImage(t, device)
}

// crashedImage is the image of a store that was not closed, with keys 0 to n-1, each synced on its own.
func crashedImage(t *testing.T, n int, sessions int) string {
	t.Helper()
	return crashedImageOf(t, n, sessions, 100)
}

// crashedImageOf is crashedImage with values of that many bytes.
func crashedImageOf(t *testing.T, n, sessions, valueSize int) string {
	t.Helper()
	device := image(t)
	name := strings.TrimSuffix(device, "?size=256MiB")
	for range sessions - 1 {
		require.NoError(t, openTest(t, device, &Options{CreateIfMissing: true}).Close())
	}
	db := openTest(t, device, &Options{CreateIfMissing: true})
	for i := range n {
		require.NoError(t, db.Set(key(i), value(i, valueSize)))
	}
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	crashed := name + ".crashed"
	require.NoError(t, os.WriteFile(crashed, content, 0o600))
	return crashed
}

// TestLogDamageAfterCrash flips a bit of a record that was durable in the log of a store that was not closed, with
// nothing behind it but the rest of the same block. The first log of a store is no exception.
func TestLogDamageAfterCrash(t *testing.T) {
	for _, sessions := range []int{1, 2} {
		device := crashedImage(t, 100, sessions)
		require.Equal(t, 1, flipInLogs(t, device, key(40)))
		_, err := Open(device, nil)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "was written when it was durable")
		db := openTest(t, device, &Options{ReadOnly: true})
		requireKeys(t, db, 40)
		require.NoError(t, db.Close())
		require.Equal(t, 1, flipInLogs(t, device, key(40)))
		requireKeys(t, openTest(t, device, nil), 100)
	}
}

// TestLogDamageNearTheEnd flips a bit of the third to last record. Only the two behind it can say that it was durable, also
// where records cross the ends of blocks or are larger than a block.
func TestLogDamageNearTheEnd(t *testing.T) {
	for _, c := range []struct{ n, valueSize int }{{100, 5000}, {4, 50 << 10}} {
		device := crashedImageOf(t, c.n, 2, c.valueSize)
		require.Equal(t, 1, flipInLogs(t, device, key(c.n-3)))
		_, err := Open(device, nil)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "was written when it was durable")
	}
}

// TestTornLog cuts the last record of a store that was not closed: that is what a crash may do to a record that was not
// acknowledged.
func TestTornLog(t *testing.T) {
	device := crashedImage(t, 100, 1)
	require.Equal(t, 1, flipInLogs(t, device, key(99)))
	requireKeys(t, openTest(t, device, nil), 99)
}

// TestCloseDevicesThatFail closes a store whose device has gone: an error, no panic.
func TestCloseDevicesThatFail(t *testing.T) {
	disk := crashbdev.New(crashbdev.Options{BlockSize: 4096})
	db := openDisk(t, disk)
	require.NoError(t, db.Set(key(1), value(1, 100)))
	disk.CutAfter(0)
	require.Error(t, db.Close())
}

// BenchmarkClose closes stores that have just taken some megabytes of values without sync.
func BenchmarkClose(b *testing.B) {
	for _, mb := range []int{0, 1, 16, 60} {
		b.Run(fmt.Sprintf("%dMB", mb), func(b *testing.B) {
			var total time.Duration
			for range b.N {
				db := openTest(b, image(b), &Options{CreateIfMissing: true})
				for i := range mb << 10 {
					require.NoError(b, db.Set(key(i), value(i, 1000), NoSync))
				}
				start := time.Now()
				require.NoError(b, db.Close())
				total += time.Since(start)
			}
			b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), "ms/close")
			b.ReportMetric(0, "ns/op")
		})
	}
}
