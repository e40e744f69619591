package nvme_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// zeros tells whether blocks read as zeros.
func (r *rig) zeros(lba uint64, blocks int) bool {
	b := r.read(lba, r.buf(blocks*blockSize, nil))
	return bytes.Count(b, []byte{0}) == len(b)
}

func TestOperations(t *testing.T) {
	rng := newRand(t)
	r := newRig(t, setup{cfg: softctrl.Config{WriteCache: true, AtomicBlocks: 8}})
	data := r.buf(1024*blockSize, rng)
	r.write(0, data)
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpFlush, NS: r.ns}))
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, LBA: 5000, Buf: data[:blockSize], Flags: nvme.FlagFUA}))

	require.NoError(t, r.do(nvme.Request{Op: nvme.OpWriteZeroes, NS: r.ns, LBA: 10, Blocks: 300}))
	require.True(t, r.zeros(10, 300))
	require.False(t, r.zeros(9, 1))
	require.False(t, r.zeros(310, 1))

	require.NoError(t, r.do(nvme.Request{Op: nvme.OpDeallocate, NS: r.ns, LBA: 400, Blocks: 5}))
	require.True(t, r.zeros(400, 5))
	require.False(t, r.zeros(405, 1))
	var ranges []nvme.Range
	for i := range 100 { // more than one command carries
		ranges = append(ranges, nvme.Range{LBA: uint64(500 + 4*i), Blocks: 2})
	}
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpDeallocate, NS: r.ns, Ranges: ranges}))
	require.True(t, r.zeros(500, 2))
	require.False(t, r.zeros(502, 1))
	require.True(t, r.zeros(500+4*99, 2))

	require.NoError(t, r.do(nvme.Request{Op: nvme.OpCompare, NS: r.ns, LBA: 1000, Buf: data[1000*blockSize : 1010*blockSize]}))
	err := r.do(nvme.Request{Op: nvme.OpCompare, NS: r.ns, LBA: 1000, Buf: data[:blockSize]})
	require.ErrorIs(t, err, nvme.ErrMiscompare)
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpVerify, NS: r.ns, LBA: 0, Blocks: 2000}))

	require.NoError(t, r.do(nvme.Request{Op: nvme.OpCopy, NS: r.ns, LBA: 2000, Ranges: []nvme.Range{{LBA: 1000, Blocks: 3}, {LBA: 5, Blocks: 1}}}))
	got := r.read(2000, r.buf(4*blockSize, nil))
	require.Equal(t, data[1000*blockSize:1003*blockSize], got[:3*blockSize])
	require.Equal(t, data[5*blockSize:6*blockSize], got[3*blockSize:])
}

func TestCompareAndWrite(t *testing.T) {
	rng := newRand(t)
	r := newRig(t, setup{cfg: softctrl.Config{AtomicBlocks: 8}})
	old, next := r.buf(8*blockSize, rng), r.buf(8*blockSize, rng)
	r.write(64, old)
	swap := nvme.Request{Op: nvme.OpCompareAndWrite, NS: r.ns, LBA: 64, Buf: old, Data: next}
	require.NoError(t, r.do(swap))
	require.Equal(t, next, r.read(64, r.buf(8*blockSize, nil)))
	err := r.do(swap)
	require.ErrorIs(t, err, nvme.ErrMiscompare, "the comparison's status counts, not that of the write it took down")
	require.Equal(t, next, r.read(64, r.buf(8*blockSize, nil)))
	swap.Buf, swap.Data = r.buf(9*blockSize, nil), r.buf(9*blockSize, nil)
	require.ErrorIs(t, r.do(swap), nvme.ErrInvalid, "more than the atomic unit")
}

// TestFusedAtRingEnd puts fused pairs at every position of a small ring.
func TestFusedAtRingEnd(t *testing.T) {
	r := newRig(t, setup{cfg: softctrl.Config{AtomicBlocks: 1}, o: nvme.Options{Depth: 5}})
	a, b := r.buf(blockSize, nil), r.buf(blockSize, nil)
	for i := range 40 {
		b[0] = byte(i)
		require.NoError(t, r.do(nvme.Request{Op: nvme.OpCompareAndWrite, NS: r.ns, LBA: 1, Buf: a, Data: b}))
		require.NoError(t, r.do(nvme.Request{Op: nvme.OpFlush, NS: r.ns}))
		copy(a, b)
	}
}

// TestFusedWaitsForRoom: a pair is not sent before there is room for both, and then it is.
func TestFusedWaitsForRoom(t *testing.T) {
	r := faultRig(t, setup{cfg: softctrl.Config{AtomicBlocks: 1}, o: nvme.Options{Depth: 4}}) // three commands
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Slow, Delay: ioTimeout / 2, Times: 2})
	reads := r.start(2, nvme.OpRead)
	next := r.buf(blockSize, newRand(t))
	swap := &nvme.Request{Op: nvme.OpCompareAndWrite, NS: r.ns, LBA: 1, Buf: r.buf(blockSize, nil), Data: next}
	before := r.q.Stats().Commands
	require.Equal(t, 1, r.q.Submit([]*nvme.Request{swap}))
	require.Equal(t, before, r.q.Stats().Commands, "half a pair was sent")
	r.finish(append(reads, swap))
	require.NoError(t, swap.Err)
	require.Equal(t, next, r.read(1, r.buf(blockSize, nil)))
}

func TestRefusedRequests(t *testing.T) {
	r := newRig(t, setup{})
	buf := r.buf(4*blockSize, nil)
	heap := make([]byte, blockSize)
	for _, c := range []struct {
		name string
		req  nvme.Request
		want error
	}{
		{"no namespace", nvme.Request{Op: nvme.OpRead, Buf: buf}, nvme.ErrInvalid},
		{"past the end", nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: numBlocks - 3, Buf: buf}, nvme.ErrOutOfRange},
		{"wrapping", nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: ^uint64(0), Buf: buf}, nvme.ErrOutOfRange},
		{"half a block", nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: buf[:700]}, nvme.ErrInvalid},
		{"nothing", nvme.Request{Op: nvme.OpRead, NS: r.ns}, nvme.ErrInvalid},
		{"unaligned", nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: buf[2 : 2+blockSize]}, nvme.ErrInvalid},
		{"not registered", nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: heap}, nvme.ErrNotMapped},
		{"leaving registered memory", nvme.Request{Op: nvme.OpWrite, NS: r.ns, Buf: r.mem[len(r.mem)-100:][:100:100]}, nvme.ErrInvalid},
		{"metadata", nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: buf, Meta: buf}, nvme.ErrInvalid},
		{"unsupported", nvme.Request{Op: nvme.OpWriteUncorrectable, NS: r.ns, Blocks: 1}, nvme.ErrUnsupported},
		{"zones", nvme.Request{Op: nvme.OpZoneAppend, NS: r.ns, Buf: buf}, nvme.ErrUnsupported},
		{"unknown", nvme.Request{Op: 99, NS: r.ns}, nvme.ErrUnsupported},
		{"empty range", nvme.Request{Op: nvme.OpWriteZeroes, NS: r.ns}, nvme.ErrOutOfRange},
		{"empty list", nvme.Request{Op: nvme.OpDeallocate, NS: r.ns, Ranges: []nvme.Range{}}, nvme.ErrInvalid},
		{"range past the end", nvme.Request{Op: nvme.OpDeallocate, NS: r.ns, Ranges: []nvme.Range{{numBlocks - 1, 2}}}, nvme.ErrOutOfRange},
		{"copy too much", nvme.Request{Op: nvme.OpCopy, NS: r.ns, Ranges: []nvme.Range{{0, 1000}}}, nvme.ErrInvalid},
		{"raw", nvme.Request{Op: nvme.OpRaw, Raw: spec.Command{Opcode: 0xC0, NSID: 1}}, nvme.ErrUnsupported},
	} {
		require.ErrorIs(t, r.do(c.req), c.want, c.name)
	}
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpRaw, Buf: buf, Raw: spec.Command{Opcode: spec.CmdRead, NSID: 1, CDW12: 3}}))
	require.Zero(t, r.c.Resets(), "no mistake of a caller reached the controller")
}

// TestBoundary: requests do not cross the optimal boundary.
func TestBoundary(t *testing.T) {
	rng := newRand(t)
	r := newRig(t, setup{cfg: softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{Storage: ram(t, 1<<20, false), Boundary: 16}}}})
	before := r.q.Stats().Commands
	w := r.buf(40*blockSize, rng)
	r.write(10, w)
	require.EqualValues(t, 4, r.q.Stats().Commands-before, "6 + 16 + 16 + 2 blocks")
	require.Equal(t, w, r.read(10, r.buf(40*blockSize, nil)))
	before = r.q.Stats().Commands
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpWriteZeroes, NS: r.ns, LBA: 10, Blocks: 40}))
	require.EqualValues(t, 1, r.q.Stats().Commands-before, "boundaries are about data")
	require.True(t, r.zeros(10, 40))
}

// TestScattered: a buffer across registered regions that do not follow each other for the controller.
func TestScattered(t *testing.T) {
	rng := newRand(t)
	r := newRig(t, setup{})
	arena := alignedArena(t, 64<<10)
	for i := 0; i < len(arena); i += 16 << 10 {
		require.NoError(t, r.c.Register(arena[i:i+16<<10]))
	}
	for range 50 {
		at := 4 * rng.IntN(2000)
		n := (1 + rng.IntN(90)) * blockSize
		b := arena[at : at+n]
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		w := bytes.Clone(b)
		r.write(3, b)
		clear(b)
		require.Equal(t, w, r.read(3, b))
	}
	require.ErrorIs(t, r.c.Register(arena[:16<<10]), nvme.ErrInvalid, "registered twice")
	require.NoError(t, r.c.Unregister(arena[:16<<10]))
	require.ErrorIs(t, r.c.Unregister(arena[:16<<10]), nvme.ErrNotMapped)
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: arena[:512]}), nvme.ErrNotMapped)
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: arena[60<<10-512 : 64<<10]}), nil)
}

// TestDoorbells: one for a batch, and with shadow doorbells fewer stores to registers; the completion doorbell is rung for a
// quarter of a ring at a time.
func TestDoorbells(t *testing.T) {
	r := newRig(t, setup{})
	var reqs []*nvme.Request
	for i := range 32 {
		reqs = append(reqs, &nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: uint64(i), Buf: r.buf(blockSize, nil)})
	}
	before := r.q.Stats().Doorbells
	require.Equal(t, 32, r.q.Submit(reqs))
	require.Equal(t, 32, r.q.Outstanding())
	require.Equal(t, 32, r.q.Poll(make([]*nvme.Request, 64)))
	require.EqualValues(t, 2, r.q.Stats().Doorbells-before)
	require.Zero(t, r.q.Outstanding())
	before = r.q.Stats().Doorbells
	for _, req := range reqs { // one by one, a quarter of a ring of 128
		require.NoError(t, r.do(*req))
	}
	require.EqualValues(t, 32+1, r.q.Stats().Doorbells-before)
}

// TestPolledDoorbells: doorbells in memory that the controller polls, as behind vfio-user, with a goroutine that serves.
func TestPolledDoorbells(t *testing.T) {
	for _, shadow := range []bool{false, true} {
		rng := newRand(t)
		s := setup{cfg: softctrl.Config{Shadow: shadow}, tr: softctrl.TransportOptions{Mapped: true}, o: nvme.Options{Clock: hostClock()}}
		served := serveLate(t, &s)
		r := newRig(t, s)
		for range 20 {
			w := r.buf(100*blockSize, rng)
			r.used = 0
			r.write(7, w)
			require.Equal(t, w, r.read(7, r.buf(100*blockSize, nil)))
		}
		require.Positive(t, served.Load())
	}
}

// sleeper is a controller in another process that looks at its doorbells only when it is woken.
type sleeper struct {
	*softctrl.Transport
	pokes int
}

func (s *sleeper) Sleeps() bool { return true }

func (s *sleeper) Wake() error {
	s.pokes++
	s.Controller().Process()
	return nil
}

// TestSleeper: doorbells in memory wake nobody; whoever waits does.
func TestSleeper(t *testing.T) {
	clock := &fakeClock{}
	tr, err := softctrl.NewTransport(softctrl.Config{Now: clock.Now, Namespaces: []softctrl.NamespaceConfig{{Storage: ram(t, 1<<20, false)}}},
		softctrl.TransportOptions{Mapped: true})
	require.NoError(t, err)
	s := &sleeper{Transport: tr}
	c, err := nvme.Open(s, nvme.Options{Clock: clock, AdminTimeout: ioTimeout})
	require.NoError(t, err)
	q, err := c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpFlush, NS: c.Namespaces()[0]}))
	before := s.pokes
	require.Positive(t, before)
	q.Wake()
	require.Equal(t, before, s.pokes, "nothing is outstanding")
	req := &nvme.Request{Op: nvme.OpFlush, NS: c.Namespaces()[0]}
	require.Equal(t, 1, q.Submit([]*nvme.Request{req}))
	q.Wake()
	require.Equal(t, before+1, s.pokes)
	require.Equal(t, 1, q.Poll(make([]*nvme.Request, 1)))
	require.NoError(t, c.Close())
	require.Zero(t, c.Resets())
}
