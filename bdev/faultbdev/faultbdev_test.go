package faultbdev_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/bdev/faultbdev"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errTest = errors.New("test fault")

// rig is a device on faults on a simulated disk.
type rig struct {
	*faultbdev.Backend
	t    *testing.T
	disk *crashbdev.Disk
	dev  *bdev.Device
}

func newRig(t *testing.T, o crashbdev.Options) *rig {
	o.Size = 1 << 20
	g := &rig{t: t, disk: crashbdev.New(o)}
	g.Backend = faultbdev.New(g.disk)
	var err error
	g.dev, err = bdev.New("faulty", g.Backend, bdev.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.dev.Close()) })
	return g
}

func (g *rig) write(fill byte, off int64, n int) error {
	return g.dev.Write(bytes.Repeat([]byte{fill}, n), off)
}

// on returns what lies on the disk, past the faults.
func (g *rig) on(off int64, n int) []byte {
	p := make([]byte, n)
	_, err := g.disk.Snapshot().ReadAt(p, off)
	require.NoError(g.t, err)
	return p
}

func (g *rig) requireOn(fill byte, off int64, n int) {
	g.t.Helper()
	require.Equal(g.t, bytes.Repeat([]byte{fill}, n), g.on(off, n))
}

func TestFailNth(t *testing.T) {
	for _, o := range []crashbdev.Options{{}, {SyncOps: bdev.Ops(bdev.OpWrite)}} {
		g := newRig(t, o)
		i := g.Inject(faultbdev.Rule{Ops: faultbdev.Writes, Skip: 2, Count: 2, Fault: faultbdev.Fail(errTest)})
		var failed []int
		for n := range 6 {
			if err := g.write(1, int64(n)*512, 512); err != nil {
				require.ErrorIs(t, err, errTest)
				failed = append(failed, n)
			}
		}
		require.Equal(t, []int{2, 3}, failed)
		require.EqualValues(t, 2, i.Hits())
		g.requireOn(1, 0, 1024)
		g.requireOn(0, 1024, 1024)
		g.requireOn(1, 2048, 1024)
	}
}

func TestDefaultIsOnce(t *testing.T) {
	g := newRig(t, crashbdev.Options{})
	g.Inject(faultbdev.Rule{Ops: faultbdev.Flushes, Fault: faultbdev.Fail(bdev.ErrIO)})
	require.NoError(t, g.write(1, 0, 512))
	require.ErrorIs(t, g.dev.Flush(), bdev.ErrIO)
	require.NoError(t, g.dev.Flush())
}

func TestAlwaysUntilRemoved(t *testing.T) {
	g := newRig(t, crashbdev.Options{})
	i := g.Inject(faultbdev.Rule{Count: faultbdev.Always, Fault: faultbdev.Fail(bdev.ErrNoSpace)})
	for range 5 {
		require.ErrorIs(t, g.write(1, 0, 512), bdev.ErrNoSpace)
	}
	i.Remove()
	require.NoError(t, g.write(1, 0, 512))
}

func TestRange(t *testing.T) {
	g := newRig(t, crashbdev.Options{})
	g.Inject(faultbdev.Rule{Offset: 4096, Length: 1024, Count: faultbdev.Always, Fault: faultbdev.Fail(errTest)})
	for _, c := range []struct {
		off, n int64
		fails  bool
	}{{3584, 512, false}, {3584, 1024, true}, {4608, 512, true}, {5120, 512, false}, {0, 65536, true}} {
		require.Equal(t, c.fails, g.write(1, c.off, int(c.n)) != nil, "%d bytes at %d", c.n, c.off)
		require.Equal(t, c.fails, g.dev.WriteZeroes(c.off, c.n) != nil)
		require.Equal(t, c.fails, g.dev.Read(make([]byte, c.n), c.off) != nil)
	}
	require.Error(t, g.dev.Flush(), "a flush touches every range")
}

func TestMatch(t *testing.T) {
	g := newRig(t, crashbdev.Options{})
	g.Inject(faultbdev.Rule{Match: func(r *bdev.Request) bool { return r.FUA }, Count: faultbdev.Always, Fault: faultbdev.Fail(errTest)})
	require.NoError(t, g.write(1, 0, 512))
	require.ErrorIs(t, g.dev.Do(&bdev.Request{Op: bdev.OpWrite, FUA: true, Buf: make([]byte, 512)}), errTest)
}

func TestFirstRuleDecides(t *testing.T) {
	g := newRig(t, crashbdev.Options{})
	first := g.Inject(faultbdev.Rule{Ops: faultbdev.Writes, Count: 2, Fault: faultbdev.Pass()})
	second := g.Inject(faultbdev.Rule{Fault: faultbdev.Fail(errTest)})
	require.NoError(t, g.write(1, 0, 512))
	require.NoError(t, g.write(1, 0, 512))
	require.Zero(t, second.Hits())
	require.ErrorIs(t, g.write(1, 0, 512), errTest)
	require.EqualValues(t, 2, first.Hits())
}

func TestFailLate(t *testing.T) {
	g := newRig(t, crashbdev.Options{})
	g.Inject(faultbdev.Rule{Fault: faultbdev.FailLate(errTest)})
	require.ErrorIs(t, g.write(1, 0, 512), errTest)
	g.requireOn(1, 0, 512)
}

func TestTear(t *testing.T) {
	g := newRig(t, crashbdev.Options{})
	g.Inject(faultbdev.Rule{Count: faultbdev.Always, Fault: faultbdev.Tear(errTest)})
	require.ErrorIs(t, g.write(1, 0, 3*512), errTest)
	g.requireOn(1, 0, 512)
	g.requireOn(0, 512, 1024)
	require.ErrorIs(t, g.write(1, 4096, 512), errTest)
	g.requireOn(0, 4096, 512)
	require.ErrorIs(t, g.dev.Read(make([]byte, 4096), 0), errTest)
	require.ErrorIs(t, g.dev.WriteZeroes(0, 1024), errTest)
	g.requireOn(0, 0, 512)
}

func TestDrop(t *testing.T) {
	g := newRig(t, crashbdev.Options{})
	g.Inject(faultbdev.Rule{Ops: faultbdev.Writes, Fault: faultbdev.Drop()})
	require.NoError(t, g.write(1, 0, 512))
	g.requireOn(0, 0, 512)

	g.Inject(faultbdev.Rule{Ops: faultbdev.Flushes, Fault: faultbdev.Drop()})
	require.NoError(t, g.write(1, 0, 512))
	require.NoError(t, g.dev.Flush())
	require.Equal(t, 1, g.disk.Unflushed(), "the flush was a lie")
}

func TestCorruptRead(t *testing.T) {
	for _, o := range []crashbdev.Options{{}, {SyncOps: bdev.Ops(bdev.OpRead)}} {
		g := newRig(t, o)
		require.NoError(t, g.write(8, 0, 4096))
		g.Inject(faultbdev.Rule{Ops: faultbdev.Reads, Offset: 700, Length: 1, Count: faultbdev.Always, Fault: faultbdev.Corrupt()})
		want := bytes.Repeat([]byte{8}, 4096)
		want[700] = 9
		for _, off := range []int{0, 512} {
			p := make([]byte, 4096-off)
			require.NoError(t, g.dev.Read(p, int64(off)))
			require.Equal(t, want[off:], p)
		}
		p := make([]byte, 512)
		require.NoError(t, g.dev.Read(p, 1024))
		require.Equal(t, want[1024:1536], p)
		g.requireOn(8, 0, 4096)
	}
}

func TestCorruptWrite(t *testing.T) {
	g := newRig(t, crashbdev.Options{})
	g.Inject(faultbdev.Rule{Fault: faultbdev.Corrupt()})
	p := bytes.Repeat([]byte{8}, 512)
	require.NoError(t, g.dev.Write(p, 0))
	require.Equal(t, byte(8), p[0], "the caller's memory stays")
	require.Equal(t, []byte{9, 8}, g.on(0, 2))
}

func TestGone(t *testing.T) {
	g := newRig(t, crashbdev.Options{})
	g.Inject(faultbdev.Rule{Ops: faultbdev.Writes, Skip: 1, Fault: faultbdev.Gone()})
	require.NoError(t, g.write(1, 0, 512))
	require.ErrorIs(t, g.write(2, 0, 512), bdev.ErrGone)
	require.ErrorIs(t, g.dev.Read(make([]byte, 512), 0), bdev.ErrGone)
	require.ErrorIs(t, g.dev.Flush(), bdev.ErrGone)
	require.ErrorIs(t, g.dev.Resize(2<<20), bdev.ErrGone)
	g.Clear()
	require.NoError(t, g.write(3, 0, 512))
	g.requireOn(3, 0, 512)
}

func TestFaultString(t *testing.T) {
	require.Equal(t, "fail (test fault)", faultbdev.Fail(errTest).String())
	require.Equal(t, "drop", faultbdev.Drop().String())
}
