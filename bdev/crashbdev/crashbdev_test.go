package crashbdev

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/bdev"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig drives a disk through one queue, so that a test decides what is in flight.
type rig struct {
	*Disk
	t *testing.T
	q bdev.Queue
}

func newRig(t *testing.T, o Options) *rig {
	d := New(o)
	q, err := d.NewQueue()
	require.NoError(t, err)
	return &rig{Disk: d, t: t, q: q}
}

// submit starts a request and leaves it in flight.
func (g *rig) submit(r *bdev.Request) *bdev.Request {
	g.t.Helper()
	require.Equal(g.t, 1, g.q.Submit([]*bdev.Request{r}))
	require.False(g.t, r.Done())
	return r
}

func (g *rig) pollAll() {
	for g.q.Poll(math.MaxInt) > 0 {
	}
}

// do carries a request out.
func (g *rig) do(r *bdev.Request) error {
	g.t.Helper()
	g.submit(r)
	g.pollAll()
	require.True(g.t, r.Done())
	return r.Err()
}

func write(block int64, fill byte, blocks int) *bdev.Request {
	return &bdev.Request{Op: bdev.OpWrite, Offset: block * 512, Buf: bytes.Repeat([]byte{fill}, blocks*512)}
}

func flush() *bdev.Request { return &bdev.Request{Op: bdev.OpFlush} }

// fill reads a block that holds one byte value.
func fill(t *testing.T, d *Disk, block int64) byte {
	t.Helper()
	p := make([]byte, 512)
	_, err := d.Snapshot().ReadAt(p, block*512)
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat(p[:1], 512), p, "torn inside a block")
	return p[0]
}

func TestFlushMakesDurable(t *testing.T) {
	g := newRig(t, Options{})
	require.NoError(t, g.do(write(0, 1, 1)))
	require.Equal(t, byte(1), fill(t, g.Disk, 0), "reads see unflushed writes")
	require.Equal(t, byte(0), fill(t, g.Cut(LoseAll, 0), 0))
	require.Equal(t, byte(1), fill(t, g.Cut(KeepAll, 0), 0))
	require.Equal(t, 1, g.Unflushed())
	require.NoError(t, g.do(flush()))
	require.Zero(t, g.Unflushed())
	require.Equal(t, byte(1), fill(t, g.Cut(LoseAll, 0), 0))
}

func TestFlushDoesNotCoverWhatIsInFlight(t *testing.T) {
	g := newRig(t, Options{})
	require.NoError(t, g.do(write(0, 1, 1)))
	g.submit(write(1, 2, 1))
	g.submit(flush())
	g.submit(write(2, 3, 1))
	g.pollAll() // the write to block 1 completes before the flush does, and yet
	after := g.Cut(LoseAll, 0)
	require.Equal(t, byte(1), fill(t, after, 0))
	require.Equal(t, byte(0), fill(t, after, 1))
	require.Equal(t, byte(0), fill(t, after, 2))
}

func TestFlushInFlightPromisesNothing(t *testing.T) {
	g := newRig(t, Options{})
	require.NoError(t, g.do(write(0, 1, 1)))
	g.submit(flush())
	require.Equal(t, byte(0), fill(t, g.Cut(LoseAll, 0), 0))
	g.pollAll()
}

func TestFUA(t *testing.T) {
	g := newRig(t, Options{})
	require.NoError(t, g.do(write(0, 1, 2)))
	r := write(1, 2, 1)
	r.FUA = true
	require.NoError(t, g.do(r))
	after := g.Cut(LoseAll, 0)
	require.Equal(t, byte(0), fill(t, after, 0), "a FUA write covers itself alone")
	require.Equal(t, byte(2), fill(t, after, 1))
	for seed := range uint64(50) {
		after = g.Cut(Random, seed)
		require.Equal(t, byte(2), fill(t, after, 1), "seed %d: an older write landed on a durable one", seed)
	}
}

func TestUnmapAndWriteZeroesAreUnflushed(t *testing.T) {
	for _, op := range []bdev.Op{bdev.OpUnmap, bdev.OpWriteZeroes} {
		g := newRig(t, Options{})
		require.NoError(t, g.do(write(0, 1, 4)))
		require.NoError(t, g.do(flush()))
		require.NoError(t, g.do(&bdev.Request{Op: op, Offset: 512, Length: 1024}))
		require.Equal(t, byte(0), fill(t, g.Disk, 1))
		require.Equal(t, byte(1), fill(t, g.Cut(LoseAll, 0), 1))
		require.Equal(t, byte(0), fill(t, g.Cut(KeepAll, 0), 2))
		require.NoError(t, g.do(flush()))
		require.Equal(t, byte(0), fill(t, g.Cut(LoseAll, 0), 1))
		require.Equal(t, byte(1), fill(t, g.Cut(LoseAll, 0), 3))
	}
}

func TestCutAfter(t *testing.T) {
	g := newRig(t, Options{})
	require.NoError(t, g.do(write(0, 1, 1)))
	require.NoError(t, g.do(flush()))
	g.CutAfter(2)
	inFlight := g.submit(write(1, 2, 1))
	require.False(t, g.PoweredOff())
	require.ErrorIs(t, g.do(write(2, 3, 8)), bdev.ErrIO)
	require.True(t, g.PoweredOff())
	require.ErrorIs(t, inFlight.Err(), ErrPoweredOff)
	read := &bdev.Request{Op: bdev.OpRead, Buf: make([]byte, 512)}
	require.ErrorIs(t, g.do(read), ErrPoweredOff)
	require.ErrorIs(t, g.do(flush()), ErrPoweredOff)
	require.ErrorIs(t, g.Execute(flush()), ErrPoweredOff)
	require.ErrorIs(t, g.Resize(1<<20), ErrPoweredOff)
	require.EqualValues(t, 4, g.Counters().Ops(), "operations after the cut do not count")

	after := g.Cut(KeepAll, 0)
	require.False(t, after.PoweredOff())
	require.Equal(t, []byte{1, 2, 3}, []byte{fill(t, after, 0), fill(t, after, 1), fill(t, after, 9)})

	g = newRig(t, Options{})
	g.CutAfter(0)
	require.ErrorIs(t, g.do(write(0, 1, 1)), ErrPoweredOff)
	require.Equal(t, byte(0), fill(t, g.Cut(KeepAll, 0), 0))
}

func TestCutAtFlush(t *testing.T) {
	g := newRig(t, Options{})
	g.CutAfter(2)
	require.NoError(t, g.do(write(0, 1, 1)))
	require.ErrorIs(t, g.do(flush()), ErrPoweredOff)
	require.Equal(t, byte(0), fill(t, g.Cut(LoseAll, 0), 0))
}

func TestFailFlush(t *testing.T) {
	g := newRig(t, Options{})
	require.NoError(t, g.do(write(0, 1, 1)))
	g.FailFlush(2, LoseAll, 0)
	require.NoError(t, g.do(flush()))
	require.NoError(t, g.do(write(0, 2, 2)))
	inFlight := g.submit(write(4, 3, 1))
	require.ErrorIs(t, g.do(flush()), bdev.ErrIO)
	require.NoError(t, inFlight.Err())
	require.Equal(t, byte(1), fill(t, g.Disk, 0), "reads see what the failed flush left")
	require.Equal(t, byte(0), fill(t, g.Disk, 1))
	require.Equal(t, byte(3), fill(t, g.Disk, 4), "not covered, not lost")
	require.NoError(t, g.do(flush()))
	after := g.Cut(LoseAll, 0)
	require.Equal(t, []byte{1, 0, 3}, []byte{fill(t, after, 0), fill(t, after, 1), fill(t, after, 4)})

	g = newRig(t, Options{})
	require.NoError(t, g.do(write(0, 1, 1)))
	g.FailFlush(1, KeepAll, 0)
	require.ErrorIs(t, g.do(flush()), ErrFlushFailed)
	require.Equal(t, byte(1), fill(t, g.Cut(LoseAll, 0), 0))
}

// outcomes cuts with many seeds and collects the contents of the first blocks.
func outcomes(t *testing.T, d *Disk, mode Mode, blocks int) map[string]bool {
	seen := make(map[string]bool)
	for seed := range uint64(400) {
		after := d.Cut(mode, seed)
		var s []byte
		for b := range blocks {
			s = append(s, '0'+fill(t, after, int64(b)))
		}
		seen[string(s)] = true
	}
	return seen
}

func keys(m map[string]bool) []string {
	var ks []string
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

func TestEveryOutcomeComesUp(t *testing.T) {
	g := newRig(t, Options{})
	require.NoError(t, g.do(write(0, 1, 2)))
	require.NoError(t, g.do(write(1, 2, 2)))
	// Each block holds its old or any of its unflushed contents, independently of the others.
	var all []string
	for _, a := range "01" {
		for _, b := range "012" {
			for _, c := range "02" {
				all = append(all, string([]rune{a, b, c}))
			}
		}
	}
	require.Equal(t, all, keys(outcomes(t, g.Disk, Random, 3)))
	require.Equal(t, []string{"112", "122"}, keys(outcomes(t, g.Disk, ReorderOnly, 3)))
	require.Equal(t, []string{"122"}, keys(outcomes(t, g.Disk, KeepAll, 3)))
	require.Equal(t, []string{"000"}, keys(outcomes(t, g.Disk, LoseAll, 3)))
	require.Equal(t, all, keys(outcomes(t, g.Disk, TornOnly, 3)))
}

func TestAtomicWriteUnit(t *testing.T) {
	g := newRig(t, Options{AtomicWriteUnit: 2048})
	require.NoError(t, g.do(write(2, 1, 8))) // touches units 0, 1 and 2
	for s := range outcomes(t, g.Disk, Random, 12) {
		require.Equal(t, s[2], s[3], s)
		require.Equal(t, 1, len(compact(s[4:8])), s)
		require.Equal(t, s[8], s[9], s)
		require.Equal(t, "00", s[0:2], s)
		require.Equal(t, "00", s[10:12], s)
	}
	require.Equal(t, 8, len(outcomes(t, g.Disk, Random, 12)))
}

func compact(s string) []byte { return slices.Compact([]byte(s)) }

func TestCutLeavesTheDiskAlone(t *testing.T) {
	g := newRig(t, Options{})
	require.NoError(t, g.do(write(0, 1, 8)))
	before := g.Snapshot()
	after, err := g.Cut(LoseAll, 1).NewQueue()
	require.NoError(t, err)
	after.Submit([]*bdev.Request{write(0, 9, 8)})
	after.Poll(1)
	require.True(t, before.Equal(g.Snapshot()))
	require.NoError(t, g.do(write(0, 2, 4)))
	require.False(t, before.Equal(g.Snapshot()))
	require.Equal(t, byte(1), before.pages[0].data[0])
}

func TestCutKeeping(t *testing.T) {
	g := newRig(t, Options{Size: 64 << 10})
	for i := range 3 {
		require.NoError(t, g.do(write(int64(i), byte(i+1), 2)))
	}
	require.Equal(t, 3, g.Unflushed())
	for kept := range 8 {
		left := g.CutKeeping(func(i int) bool { return kept>>i&1 == 1 }).Snapshot()
		var want [4]byte // by block: the last kept write that covers it
		for i := range 3 {
			if kept>>i&1 == 1 {
				want[i], want[i+1] = byte(i+1), byte(i+1)
			}
		}
		for block, fill := range want {
			b := make([]byte, 512)
			left.read(b, int64(block)*512)
			require.Equal(t, bytes.Repeat([]byte{fill}, 512), b, "kept %03b, block %d", kept, block)
		}
	}
	require.Equal(t, 3, g.Unflushed(), "the disk goes on")
}

func TestOverlapsAreCounted(t *testing.T) {
	g := newRig(t, Options{})
	g.submit(write(0, 1, 2))
	g.submit(write(2, 1, 2))
	require.Zero(t, g.Counters().Overlaps)
	g.submit(write(1, 1, 2))
	require.EqualValues(t, 1, g.Counters().Overlaps)
	g.pollAll()
	require.NoError(t, g.do(write(0, 1, 2)))
	require.EqualValues(t, 1, g.Counters().Overlaps)
}

func TestCounters(t *testing.T) {
	g := newRig(t, Options{Sparse: true})
	require.NoError(t, g.do(write(0, 1, 2)))
	fua := write(1, 1, 1)
	fua.FUA = true
	require.NoError(t, g.do(fua))
	require.NoError(t, g.do(flush()))
	require.NoError(t, g.do(&bdev.Request{Op: bdev.OpUnmap, Length: 512}))
	require.NoError(t, g.do(&bdev.Request{Op: bdev.OpWriteZeroes, Length: 512}))
	require.NoError(t, g.do(&bdev.Request{Op: bdev.OpAllocate, Length: 512}))
	require.NoError(t, g.do(&bdev.Request{Op: bdev.OpRead, Buf: make([]byte, 4096)}))
	require.ErrorIs(t, g.do(&bdev.Request{Op: bdev.OpCompare}), bdev.ErrUnsupported)
	require.Equal(t, Counters{Reads: 1, Writes: 2, FUAWrites: 1, Flushes: 1, Unmaps: 1, WriteZeroes: 1,
		BytesRead: 4096, BytesWritten: 1536}, g.Counters())
	require.EqualValues(t, 5, g.Counters().Ops())
}

func TestResize(t *testing.T) {
	g := newRig(t, Options{Size: 1 << 20})
	last := int64(1<<20)/512 - 1
	require.NoError(t, g.do(write(last-1, 1, 2)))
	require.NoError(t, g.Resize(1<<20-512))
	require.NoError(t, g.Resize(2<<20))
	require.EqualValues(t, 4096, g.Properties().BlockCount)
	for _, mode := range []Mode{KeepAll, LoseAll} {
		require.NoError(t, g.do(flush()))
		after := g.Cut(mode, 0)
		require.Equal(t, byte(1), fill(t, after, last-1))
		require.Equal(t, byte(0), fill(t, after, last), "what was cut off stays away")
	}
	require.ErrorIs(t, g.Resize(1000), bdev.ErrInvalid)
	require.ErrorIs(t, g.Resize(0), bdev.ErrInvalid)
}

func TestFromImage(t *testing.T) {
	m := NewImage(1 << 20)
	m.write([]byte{7}, 0)
	d := FromImage(m, Options{})
	require.EqualValues(t, 2048, d.Properties().BlockCount)
	m.write([]byte{8}, 0)
	require.Equal(t, byte(7), d.Cut(LoseAll, 0).current.pages[0].data[0])
	require.EqualValues(t, 4096, FromImage(m, Options{Size: 2 << 20}).Properties().BlockCount)
}

func TestBadOptionsPanic(t *testing.T) {
	require.Panics(t, func() { New(Options{Size: 1000}) })
	require.Panics(t, func() { New(Options{BlockSize: -1}) })
}

func TestQueueFull(t *testing.T) {
	g := newRig(t, Options{QueueDepth: 2})
	require.Equal(t, 2, g.q.Submit([]*bdev.Request{write(0, 1, 1), write(1, 1, 1), write(2, 1, 1)}))
	require.Equal(t, 0, g.q.Submit([]*bdev.Request{write(2, 1, 1)}))
	require.Equal(t, 1, g.q.Poll(1))
	require.Equal(t, 1, g.q.Submit([]*bdev.Request{write(2, 1, 1), write(3, 1, 1)}))
	g.pollAll()
}

// version is one write to one block in the reference model. Times count submissions and completions.
type version struct {
	id        uint64
	submitted int
	completed int // 0: in flight
	durable   bool
}

// model remembers all that was ever written to each block and judges what a cut may leave.
type model struct {
	now    int
	blocks [][]*version
}

// legal reports whether a block may hold the data with that id after a cut: not if a write submitted after it had
// completed is durable.
func (m *model) legal(block int, id uint64) bool {
	held := &version{} // never written: id 0, completed at time 0
	for _, v := range m.blocks[block] {
		if v.id == id && id != 0 {
			held = v
		}
	}
	inFlight := held.id != 0 && held.completed == 0
	for _, v := range m.blocks[block] {
		if v.durable && v != held && !inFlight && v.submitted > held.completed {
			return false
		}
	}
	return held.id == id
}

type modelOp struct {
	r        *bdev.Request
	versions []*version
	covered  []*version // by a flush, at its submission
}

// TestAgainstModel runs random operations with several in flight and cuts all along. Every block must hold data that
// the promises of the device allow.
func TestAgainstModel(t *testing.T) {
	for _, o := range []Options{{}, {BlockSize: 4096}, {AtomicWriteUnit: 4096}, {BlockSize: 4096, AtomicWriteUnit: 4096, CompletionSeed: 1}} {
		seed := rand.Uint64()
		t.Logf("seed %d options %+v", seed, o)
		runModel(t, o, rand.New(rand.NewPCG(seed, 0)))
	}
}

func runModel(t *testing.T, o Options, rng *rand.Rand) {
	const blocks = 16
	o = o.withDefaults()
	o.Size, o.QueueDepth = int64(blocks*o.BlockSize), 4096
	g := newRig(t, o)
	m := &model{blocks: make([][]*version, blocks)}
	var outstanding []*modelOp
	var id uint64
	for step := range 800 {
		m.now++
		switch k := rng.IntN(20); {
		case k < 9:
			first := rng.IntN(blocks)
			n := rng.IntN(min(6, blocks-first)) + 1
			id++
			op := &modelOp{r: modelWrite(o, id, first, n, rng.IntN(8) == 0)}
			for b := first; b < first+n; b++ {
				v := &version{id: id, submitted: m.now}
				m.blocks[b] = append(m.blocks[b], v)
				op.versions = append(op.versions, v)
			}
			g.submit(op.r)
			outstanding = append(outstanding, op)
		case k < 11:
			op := &modelOp{r: flush()}
			for _, vs := range m.blocks {
				for _, v := range vs {
					if v.completed != 0 {
						op.covered = append(op.covered, v)
					}
				}
			}
			g.submit(op.r)
			outstanding = append(outstanding, op)
		default:
			g.q.Poll(rng.IntN(4))
			outstanding = m.reap(t, outstanding)
		}
		if step%8 == 0 {
			m.check(t, g, o, rng.Uint64())
		}
	}
	g.pollAll()
	outstanding = m.reap(t, outstanding)
	require.Empty(t, outstanding)
	require.NoError(t, g.do(flush()))
	require.True(t, g.Snapshot().Equal(g.Cut(LoseAll, 0).Snapshot()), "after a flush the media hold what reads return")
}

// modelWrite fills each 512 bytes with the id.
func modelWrite(o Options, id uint64, first, n int, fua bool) *bdev.Request {
	p := make([]byte, n*o.BlockSize)
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], id)
	}
	return &bdev.Request{Op: bdev.OpWrite, FUA: fua, Offset: int64(first * o.BlockSize), Buf: p}
}

func (m *model) reap(t *testing.T, outstanding []*modelOp) []*modelOp {
	m.now++
	return slices.DeleteFunc(outstanding, func(op *modelOp) bool {
		if !op.r.Done() {
			return false
		}
		require.NoError(t, op.r.Err())
		for _, v := range op.versions {
			v.completed = m.now
			v.durable = op.r.FUA
		}
		for _, v := range op.covered {
			v.durable = true
		}
		return true
	})
}

func (m *model) check(t *testing.T, g *rig, o Options, seed uint64) {
	t.Helper()
	for _, mode := range Modes() {
		image := g.Cut(mode, seed).Snapshot()
		for b := range m.blocks {
			for _, id := range m.ids(t, image, o, b) {
				if !m.legal(b, id) {
					t.Fatalf("%v, seed %d, block %d: write %d has no right to be there", mode, seed, b, id)
				}
			}
		}
	}
}

// ids returns the ids that the atomic units of a block hold.
func (m *model) ids(t *testing.T, image *Image, o Options, block int) (ids []uint64) {
	p := make([]byte, o.BlockSize)
	_, err := image.ReadAt(p, int64(block*o.BlockSize))
	require.NoError(t, err)
	unit := min(o.BlockSize, o.AtomicWriteUnit)
	for i := 0; i < len(p); i += 8 {
		id := binary.LittleEndian.Uint64(p[i:])
		if i%unit == 0 {
			ids = append(ids, id)
		}
		if ids[len(ids)-1] != id {
			t.Fatalf("block %d is torn inside an atomic unit", block)
		}
	}
	return ids
}

func TestDeterministic(t *testing.T) {
	run := func() *Image {
		g := newRig(t, Options{CompletionSeed: 7})
		rng := rand.New(rand.NewPCG(42, 0))
		for range 200 {
			g.submit(write(rng.Int64N(64), byte(rng.IntN(256)), 4))
			if rng.IntN(3) == 0 {
				g.q.Poll(2)
			}
			if rng.IntN(10) == 0 {
				g.pollAll()
				g.submit(flush())
			}
		}
		return g.Cut(Random, 3).Snapshot()
	}
	require.True(t, run().Equal(run()))
}
