package blobfs

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

// TestCheckpointStallsNobody holds each flush of a checkpoint back. Commits go on meanwhile, and a sync that comes then is
// over with the flush that is running and one more: it does not wait for the checkpoint, which takes three.
func TestCheckpointStallsNobody(t *testing.T) {
	e, d := heldEnv(t, 256<<10)
	release := d.hold(isFlush)
	defer release()
	made := 0
	create := func() {
		name := fmt.Sprintf("/%d", made)
		made++
		require.NoError(t, within(t, async(func() error {
			f, err := e.Create(name)
			if err != nil {
				return err
			}
			return f.Close()
		}), "a commit"))
	}
	for range 8 { // more than half of what the image area of this journal takes
		create()
	}
	within(t, d.arrived, "the checkpoint's flush of its images")
	create()
	frames := d.count("frame")
	synced := async(e.Sync)
	require.Eventually(t, func() bool { return d.count("frame") > frames }, neverEnds, time.Millisecond)
	d.pass <- struct{}{}
	require.LessOrEqual(t, d.letThrough(t, synced, 1), 2, "flushes until the sync returns, besides the one that was running")
	for ended := false; !ended; {
		select {
		case <-d.arrived: // another of the checkpoint's
			create()
			d.pass <- struct{}{}
		case <-time.After(time.Millisecond):
			ended = e.store.Info().CheckpointLSN > 0
		}
	}
}

// TestSyncsShareFlushes has many files synced, and many names, while a flush is running that covers none of them: few
// flushes serve them all.
func TestSyncsShareFlushes(t *testing.T) {
	const many = 16
	for name, c := range map[string]struct {
		make func(e *env, i int) func() error
		kind string // what each sync writes before it asks for a flush
		want int
	}{
		"files": {func(e *env, i int) func() error {
			f := e.openWrite(fmt.Sprintf("/%d", i))
			e.t.Cleanup(func() { require.NoError(e.t, f.Close()) })
			_, err := f.Write(bytes.Repeat([]byte{0xAA}, 8192))
			require.NoError(e.t, err)
			return f.Sync
		}, "write 0xaa", many},
		"directories": {func(e *env, i int) func() error {
			require.NoError(e.t, e.Mkdir(fmt.Sprintf("/%d", i)))
			return e.Sync
		}, "frame", 1},
	} {
		t.Run(name, func(t *testing.T) {
			e, d := heldEnv(t, 1<<20)
			release := d.hold(isFlush)
			defer release()
			f := e.openWrite("/first")
			_, err := f.Write([]byte("x"))
			require.NoError(t, err)
			first := async(f.Sync)
			within(t, d.arrived, "the first flush")
			var syncs []func() error
			for i := range many {
				syncs = append(syncs, c.make(e, i))
			}
			before := d.count(c.kind)
			done := make(chan error, many)
			for _, sync := range syncs {
				go func() { done <- sync() }()
			}
			require.Eventually(t, func() bool { return d.count(c.kind) >= before+c.want }, neverEnds, time.Millisecond)
			d.pass <- struct{}{}
			flushes := d.letThrough(t, done, many)
			require.LessOrEqual(t, flushes, many/2, "one, and some for those that were slow to ask")
			require.NoError(t, within(t, first, "the first sync"))
			require.NoError(t, f.Close())
		})
	}
}

// TestSyncWaitsForNoOther has one file synced to the end while the data write of another, whose sync began before, does
// not come back.
func TestSyncWaitsForNoOther(t *testing.T) {
	for name, grows := range map[string]bool{"appended": true, "in place": false} {
		t.Run(name, func(t *testing.T) {
			e, d := heldEnv(t, 1<<20)
			e.create("/slow", make([]byte, 8192))
			e.create("/quick", make([]byte, 8192))
			slow, quick := e.openWrite("/slow"), e.openWrite("/quick")
			off := int64(0)
			if grows {
				off = 8192
			}
			e.writeAt(slow, bytes.Repeat([]byte{0xAA}, 4096), off)
			e.writeAt(quick, bytes.Repeat([]byte{0xBB}, 4096), off)
			release := d.hold(func(r *bdev.Request) bool { return r.Op == bdev.OpWrite && r.Buf[0] == 0xAA })
			defer release()
			slowSync := async(slow.Sync)
			within(t, d.arrived, "the slow file's data write")
			require.NoError(t, within(t, async(quick.Sync), "the sync of the other file"))
			require.Empty(t, slowSync, "its bytes are not there")
			release()
			require.NoError(t, within(t, slowSync, "the slow sync"))
			require.NoError(t, slow.Close())
			require.NoError(t, quick.Close())
		})
	}
}

// TestTableSyncCosts writes a table of 64 MiB as an engine does and counts what its sync writes: what is left of the last
// buffer, and the journal's frame.
func TestTableSyncCosts(t *testing.T) {
	e := newEnv(t, 128<<20, Options{})
	f := e.openWrite("/table")
	piece := pattern(64<<10, 1)
	for range 1024 {
		_, err := f.Write(piece)
		require.NoError(t, err)
	}
	_, err := f.Write(pattern(5_000, 2))
	require.NoError(t, err)
	before := e.dev.Stats()
	require.NoError(t, f.Sync())
	after := e.dev.Stats()
	spent := after.Since(before)
	writes := spent.Of(bdev.OpWrite)
	require.Equal(t, uint64(2), writes.Latency.Count, "the last buffer and the frame")
	require.LessOrEqual(t, writes.Bytes, uint64(8192+4096))
	require.Equal(t, uint64(2), spent.Of(bdev.OpFlush).Latency.Count, "data, then the length: see docs/decisions/007")
	require.NoError(t, f.Close())
}

// TestManyVouchersAtOnce has more appended to many files that are synced at the same time than the store lets recovery
// verify: those that come late flush their bytes first, and all lengths are durable.
func TestManyVouchersAtOnce(t *testing.T) {
	const files, size = 140, 250_000 // 35 MB
	const fit = (32 << 20) / size
	e, d := heldEnv(t, 8<<20)
	var list []*File
	for i := range files {
		f := e.openWrite(fmt.Sprintf("/%d", i))
		_, err := f.Write(pattern(size, byte(i)))
		require.NoError(t, err)
		list = append(list, f)
	}
	release := d.hold(isFlush)
	defer release()
	before := e.store.LastLSN()
	done := make(chan error, files)
	for _, f := range list {
		go func() { done <- f.Sync() }()
	}
	vouched := func() int { return int(e.store.LastLSN() - before) }
	require.Eventually(t, func() bool { return vouched() == fit }, neverEnds, time.Millisecond)
	within(t, d.arrived, "the first flush")
	require.Equal(t, fit, vouched(), "the others have only flushed yet")
	d.pass <- struct{}{}
	d.letThrough(t, done, files)
	release()
	for _, f := range list {
		require.NoError(t, f.Close())
	}
	e.remount()
	for i := range files {
		require.Empty(t, diff(pattern(size, byte(i)), e.read(fmt.Sprintf("/%d", i))))
	}
}

// TestPointReadsPassReadAhead has as much read-ahead under way as there is memory for, none of which comes back, and reads
// another file: its request is with the device at once, and is done while the others are held.
func TestPointReadsPassReadAhead(t *testing.T) {
	e, d := heldEnv(t, 1<<20)
	e.create("/point", bytes.Repeat([]byte{0xAA}, 8192))
	scanned := bytes.Repeat([]byte{0xBB}, 1<<20)
	var scans []*File
	for i := range 24 {
		name := fmt.Sprintf("/scan%d", i)
		e.create(name, scanned)
		f, err := e.Open(name)
		require.NoError(t, err)
		scans = append(scans, f)
	}
	point, err := e.Open("/point")
	require.NoError(t, err)
	release := d.hold(func(r *bdev.Request) bool { return r.Op == bdev.OpRead && len(r.Buf) >= raFirst })
	defer release()
	for _, f := range scans {
		require.NoError(t, f.Prefetch(0, maxPrefetch))
	}
	free := e.readMem.Stats().Limit - e.readMem.Stats().Used
	require.Less(t, free, int64(raBuffer), "read-ahead has all the memory it may have")
	within(t, d.arrived, "a read-ahead")
	require.NoError(t, within(t, async(func() error {
		p := make([]byte, 100)
		_, err := point.ReadAt(p, 5000)
		return err
	}), "a read of 100 bytes"))
	release()
	for _, f := range append(scans, point) {
		require.NoError(t, f.Close())
	}
}
