package blobfs

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/bdev/faultbdev"
)

// faultEnv is a file system on a device that can be told to fail.
func faultEnv(t *testing.T) (*env, *faultbdev.Backend) {
	t.Helper()
	faults := faultbdev.New(crashbdev.New(crashbdev.Options{Size: 16 << 20}))
	dev, err := bdev.New("faulty", faults, bdev.Options{})
	require.NoError(t, err)
	e := &env{t: t, dev: dev, o: Options{WriteBufferBytes: 1 << 20}}
	require.NoError(t, Format(dev, smallStore))
	e.mount()
	t.Cleanup(func() {
		faults.Clear()
		if e.closed.Load() || e.Store().Err() == nil {
			e.finish()
		}
		require.NoError(t, dev.Close())
	})
	return e, faults
}

// faultWork writes three files in every way there is and returns what each must hold if all of it worked, and the first
// error. Work goes on after an error.
func faultWork(e *env) (want map[string][]byte, first error) {
	want = map[string][]byte{}
	note := func(err error) {
		if err != nil && first == nil {
			first = err
		}
	}
	for i, name := range []string{"/log", "/table", "/patched"} {
		f, err := e.Create(name)
		if err != nil {
			note(err)
			continue
		}
		write := func(p []byte, off int) {
			n, err := f.WriteAt(p, int64(off))
			note(err)
			if missing := off + n - len(want[name]); missing > 0 {
				want[name] = append(want[name], make([]byte, missing)...)
			}
			copy(want[name][off:], p[:n])
		}
		switch i {
		case 0:
			for j := range 6 {
				write(pattern(700, byte(j)), len(want[name]))
				note(f.Sync())
			}
		case 1:
			write(pattern(700_000, 9), 0)
		case 2:
			write(pattern(30_000, 7), 0)
			note(f.Sync())
			write(pattern(9_000, 8), 5_000)
		}
		note(f.Sync())
		note(f.Close())
	}
	return want, first
}

// TestFailNthWrite fails each write in turn, a few times, to fail a repetition or to outlast all of them. No error is
// swallowed, nothing is damaged, and unless the store had to become read-only everything is as it should be after the
// next sync.
func TestFailNthWrite(t *testing.T) {
	reported := 0
	for n := range 24 {
		for _, times := range []int{3, 7} {
			t.Run(fmt.Sprint(n, "x", times), func(t *testing.T) {
				if failNthWrite(t, n, times) {
					reported++
				}
			})
		}
	}
	require.Greater(t, reported, 15)
}

// failNthWrite says whether an error was reported.
func failNthWrite(t *testing.T, n, times int) bool {
	e, faults := faultEnv(t)
	faults.Inject(faultbdev.Rule{Ops: faultbdev.Writes, Skip: n, Count: times, Fault: faultbdev.Fail(bdev.ErrIO)})
	want, err := faultWork(e)
	faults.Clear()
	if e.Store().Err() != nil {
		require.Error(t, err)
		_, err := e.Create("/more")
		require.ErrorIs(t, err, ErrReadOnly)
		require.Error(t, e.FS.Close())
		e.mount()
		return true
	}
	e.remount()
	for name, content := range want {
		require.Empty(t, diff(content, e.read(name)), name)
	}
	return err != nil
}

// TestFailedFlush: after a failed flush nothing is acknowledged any more and what was before is there.
func TestFailedFlush(t *testing.T) {
	e, faults := faultEnv(t)
	content := pattern(5_000, 1)
	e.create("/f", content)
	f := e.openWrite("/f")
	faults.Inject(faultbdev.Rule{Ops: bdev.Ops(bdev.OpFlush), Count: faultbdev.Always, Fault: faultbdev.Fail(bdev.ErrIO)})
	_, err := f.WriteAt([]byte("lost?"), 5_000)
	require.NoError(t, err)
	require.ErrorIs(t, f.Sync(), bdev.ErrIO)
	faults.Clear()
	require.ErrorIs(t, f.Sync(), ErrReadOnly)
	_, err = f.Write([]byte("x"))
	require.ErrorIs(t, err, ErrReadOnly)
	require.Empty(t, diff(append(bytes.Clone(content), "lost?"...), e.read("/f")), "reading goes on")
	require.Error(t, e.FS.Close())
	e.mount()
	require.Empty(t, diff(content, e.read("/f")[:5_000]))
}

// TestFailedReads: an error reaches the reader, a short one is repeated, read-ahead never makes one up.
func TestFailedReads(t *testing.T) {
	for _, sequential := range []bool{false, true} {
		t.Run(fmt.Sprint(sequential), func(t *testing.T) {
			e, faults := faultEnv(t)
			content := pattern(900_000, 1)
			e.create("/f", content)
			f, err := e.Open("/f")
			require.NoError(t, err)
			if sequential {
				f.SetSequential()
			}
			p := make([]byte, 100_000)
			rule := faults.Inject(faultbdev.Rule{Ops: faultbdev.Reads, Count: faultbdev.Always, Fault: faultbdev.Fail(bdev.ErrIO)})
			_, err = f.ReadAt(p, 1_000)
			require.ErrorIs(t, err, bdev.ErrIO)
			rule.Remove()
			faults.Inject(faultbdev.Rule{Ops: faultbdev.Reads, Count: 2, Fault: faultbdev.Fail(bdev.ErrIO)})
			_, err = f.ReadAt(p, 1_000)
			require.NoError(t, err)
			require.Empty(t, diff(content[1_000:101_000], p))
			require.NoError(t, f.Close())
		})
	}
}

// TestFailedBackgroundWrite: a chunk whose write-behind failed stays in memory until a sync can write it.
func TestFailedBackgroundWrite(t *testing.T) {
	e, faults := faultEnv(t)
	f := e.openWrite("/f")
	content := pattern(1_500_000, 4)
	faults.Inject(faultbdev.Rule{Ops: faultbdev.Writes, Count: faultbdev.Always, Fault: faultbdev.Fail(bdev.ErrIO)})
	n, err := f.Write(content)
	require.ErrorIs(t, err, bdev.ErrIO, "1 MiB of buffers cannot take 1.5 MB")
	require.Empty(t, diff(content[:n], e.read("/f")))
	require.ErrorIs(t, f.Sync(), bdev.ErrIO)
	faults.Clear()
	n2, err := f.WriteAt(content[n:], int64(n))
	require.NoError(t, err)
	require.Equal(t, len(content), n+n2)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	e.remount()
	require.Empty(t, diff(content, e.read("/f")))
}

// TestErrorReachesEveryHandle: a write that failed behind its writer is told to each handle that syncs, close included, and
// is no error any more once it could be carried out.
func TestErrorReachesEveryHandle(t *testing.T) {
	e, faults := faultEnv(t)
	a, b, other := e.openWrite("/f"), e.openWrite("/f"), e.openWrite("/other")
	require.NoError(t, other.Sync())
	content := pattern(600_000, 4) // two chunks go out behind the writer
	rule := faults.Inject(faultbdev.Rule{Ops: faultbdev.Writes, Count: faultbdev.Always, Fault: faultbdev.Fail(bdev.ErrIO)})
	e.writeAt(a, content[:300_000], 0)
	e.writeAt(b, content[300_000:], 300_000)
	require.ErrorIs(t, a.Sync(), bdev.ErrIO)
	require.ErrorIs(t, b.Sync(), bdev.ErrIO)
	require.ErrorIs(t, a.Sync(), bdev.ErrIO, "it is still not written")
	require.ErrorIs(t, b.Close(), bdev.ErrIO)
	require.NoError(t, other.Sync(), "which has lost nothing")
	require.NoError(t, e.Store().Err(), "data that can be written again is no reason to stop")
	rule.Remove()
	require.NoError(t, a.Sync())
	require.NoError(t, errors.Join(a.Close(), other.Close()))
	e.remount()
	require.Empty(t, diff(content, e.read("/f")))
}

// TestAbandon ends a file system on a device that takes no more data: what was synced is there, the rest is not, in no file
// and not as clusters, and nobody is told that it could not be written.
func TestAbandon(t *testing.T) {
	e, faults := faultEnv(t)
	synced := pattern(100_000, 1)
	e.create("/synced", synced)
	f, err := e.OpenReadWrite("/synced", false)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	used := e.Usage().UsedBytes
	faults.Inject(faultbdev.Rule{Ops: faultbdev.Writes, Match: func(r *bdev.Request) bool {
		return bytes.Contains(r.Buf, []byte("unwritten"))
	}, Count: faultbdev.Always, Fault: faultbdev.Fail(bdev.ErrNoSpace)})
	for _, name := range []string{"/closed", "/open", "/unlinked"} {
		f, err := e.Create(name)
		require.NoError(t, err)
		_, err = f.Write(bytes.Repeat([]byte("unwritten"), 10_000))
		require.NoError(t, err)
		switch name {
		case "/closed":
			require.ErrorIs(t, f.Close(), ErrNoSpace)
		case "/unlinked":
			require.NoError(t, e.Remove(name))
		}
	}
	require.NoError(t, e.Abandon())
	e.mount()
	require.Equal(t, synced, e.read("/synced"))
	require.Empty(t, e.read("/closed"))
	require.Empty(t, e.read("/open"))
	require.Equal(t, used, e.Usage().UsedBytes)
}
