package nvme_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// TestModel runs random operations at depth, with random faults and resets, against a model: after every write that
// succeeded its blocks read back, blocks of one that failed hold the old or the new data, each by itself.
func TestModel(t *testing.T) {
	for _, cfg := range []softctrl.Config{{}, {SGL: true, Shadow: true, MDTS: 2}, {Entries: 8, Shadow: true}} {
		rng := newRand(t)
		cfg.Namespaces = []softctrl.NamespaceConfig{{Storage: ram(t, modelBlocks*blockSize, false), Boundary: 24}}
		m := &model{rig: faultRig(t, setup{cfg: cfg}), rng: rng}
		for i := range m.may {
			m.may[i] = [][]byte{make([]byte, blockSize)}
		}
		for range 150 {
			m.round()
		}
		require.Positive(t, m.q.Stats().Retries+m.c.Resets(), "no fault had an effect")
	}
}

const modelBlocks = 512

// model knows what each block may hold.
type model struct {
	*rig
	rng *rand.Rand
	may [modelBlocks][][]byte
}

// round submits operations on ranges that do not overlap, and looks at each when it is done.
func (m *model) round() {
	m.used = 0
	if m.rng.IntN(3) == 0 {
		m.inject()
	}
	var reqs []*nvme.Request
	for at := uint64(m.rng.IntN(8)); at < modelBlocks-80; {
		n := uint64(1 + m.rng.IntN(70))
		reqs = append(reqs, m.request(at, n))
		at += n + uint64(m.rng.IntN(20))
	}
	m.rng.Shuffle(len(reqs), func(i, j int) { reqs[i], reqs[j] = reqs[j], reqs[i] })
	if m.rng.IntN(10) == 0 {
		n := m.q.Submit(reqs[:1+m.rng.IntN(len(reqs))])
		_ = m.c.Reset() // in the middle of things
		m.drive(reqs, n)
	} else {
		m.drive(reqs, 0)
	}
	m.soft.ClearFaults()
	for _, r := range reqs {
		m.judge(r)
	}
}

func (m *model) inject() {
	f := softctrl.Fault{Opcode: softctrl.AnyOpcode, Skip: m.rng.IntN(10), Times: 1 + m.rng.IntN(3), Do: softctrl.Action(m.rng.IntN(6)), Delay: time.Second / 10}
	f.Status = []spec.Status{spec.StatusNamespaceNotReady, spec.StatusWriteFault, spec.StatusInternalPathError | 1<<11}[m.rng.IntN(3)]
	m.soft.Inject(f)
}

func (m *model) request(lba, n uint64) *nvme.Request {
	r := &nvme.Request{NS: m.ns, LBA: lba, Blocks: n}
	switch m.rng.IntN(5) {
	case 0:
		r.Op = nvme.OpWriteZeroes
	case 1:
		r.Op = nvme.OpDeallocate
	case 2, 3:
		r.Op, r.Buf = nvme.OpWrite, m.buf(int(n)*blockSize, m.rng)
	default:
		r.Op, r.Buf = nvme.OpRead, m.buf(int(n)*blockSize, nil)
	}
	return r
}

func (m *model) drive(reqs []*nvme.Request, submitted int) {
	back := 0
	m.settle("requests did not come back", func() bool {
		submitted += m.q.Submit(reqs[submitted:])
		var done [16]*nvme.Request
		back += m.q.Poll(done[:])
		return back == len(reqs)
	})
	require.Zero(m.t, m.q.Outstanding())
}

// judge takes a request's effect over into the model, or compares what it read.
func (m *model) judge(r *nvme.Request) {
	for i := range r.Blocks {
		have := &m.may[r.LBA+i]
		if r.Op == nvme.OpRead {
			if r.Err == nil {
				b := r.Buf[i*blockSize : (i+1)*blockSize]
				require.True(m.t, contains(*have, b), "block %d", r.LBA+i)
				*have = [][]byte{bytes.Clone(b)}
			}
			continue
		}
		next := make([]byte, blockSize)
		if r.Op == nvme.OpWrite {
			copy(next, r.Buf[i*blockSize:])
		}
		if r.Err == nil {
			*have = [][]byte{next}
		} else {
			*have = append(*have, next)
		}
	}
	if r.Err != nil {
		var status *nvme.StatusError
		known := errors.As(r.Err, &status) || errors.Is(r.Err, nvme.ErrReset) || errors.Is(r.Err, nvme.ErrTimeout)
		require.True(m.t, known, "%v", r.Err)
	}
}

func contains(all [][]byte, b []byte) bool {
	for _, a := range all {
		if bytes.Equal(a, b) {
			return true
		}
	}
	return false
}

// TestManyGoroutines: many submit to few queues, whoever holds the lead polls, another goroutine looks after the controller,
// resets it, and reads logs.
func TestManyGoroutines(t *testing.T) {
	const writers, rounds = 8, 60
	r := newRig(t, setup{o: nvme.Options{Depth: 16, Retries: 20}, cfg: softctrl.Config{Shadow: true}})
	second, err := r.c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	queues := []*leadQueue{{q: r.q}, {q: second}}
	stop := make(chan struct{})
	var tender, work sync.WaitGroup
	tender.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = r.c.Poll()
			if i%50 == 49 {
				_ = r.c.Reset()
			}
			if i%20 == 19 {
				_, _ = r.c.SMART(spec.BroadcastNSID) // a reset may take it
			}
			r.clock.Sleep(time.Millisecond)
		}
	})
	var failed atomic.Value
	for w := range writers {
		buf, back := r.buf(4*blockSize, nil), r.buf(4*blockSize, nil)
		work.Go(func() {
			q := queues[w%len(queues)]
			for i := range rounds {
				for k := range buf {
					buf[k] = byte(w + i + k)
				}
				q.do(&nvme.Request{Op: nvme.OpWrite, NS: r.ns, LBA: uint64(100 * w), Buf: buf}, &failed)
				q.do(&nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: uint64(100 * w), Buf: back}, &failed)
				if !bytes.Equal(buf, back) {
					failed.Store(fmt.Errorf("writer %d, round %d: read something else", w, i))
				}
			}
		})
	}
	work.Wait()
	close(stop)
	tender.Wait()
	require.Nil(t, failed.Load())
}

// leadQueue shares a queue: one of those who wait polls for all.
type leadQueue struct {
	q    *nvme.Queue
	lead sync.Mutex
}

func (l *leadQueue) do(r *nvme.Request, failed *atomic.Value) {
	var finished atomic.Bool
	r.Tag = &finished
	for l.q.Submit([]*nvme.Request{r}) == 0 {
		l.poll()
	}
	for !finished.Load() {
		l.poll()
	}
	if r.Err != nil {
		failed.Store(r.Err)
	}
}

func (l *leadQueue) poll() {
	if l.lead.TryLock() {
		var done [8]*nvme.Request
		for _, d := range done[:l.q.Poll(done[:])] {
			d.Tag.(*atomic.Bool).Store(true)
		}
		l.lead.Unlock()
	}
}

// TestPowerFail: what a flush covered survives a power failure, and with a volatile cache something else does not.
func TestPowerFail(t *testing.T) {
	rng := newRand(t)
	store := ram(t, 1<<20, true)
	r, err := tryRig(t, setup{cfg: softctrl.Config{WriteCache: true, Namespaces: []softctrl.NamespaceConfig{{Storage: store}}}})
	require.NoError(t, err)
	r.q, err = r.c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	r.mem, err = r.c.Alloc(rigMemory)
	require.NoError(t, err)
	r.ns = r.c.Namespaces()[0]
	flushed, fua, lost := bytes.Clone(r.buf(64*blockSize, rng)), bytes.Clone(r.buf(8*blockSize, rng)), bytes.Clone(r.buf(64*blockSize, rng))
	r.used = 0
	put := func(lba uint64, b []byte, flags nvme.Flags) {
		w := r.buf(len(b), nil)
		copy(w, b)
		require.NoError(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, LBA: lba, Buf: w, Flags: flags}))
	}
	put(0, flushed, 0)
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpFlush, NS: r.ns}))
	put(100, fua, nvme.FlagFUA)
	put(200, lost, 0)
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: softctrl.CutPower})
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, LBA: 300, Buf: r.mem[:blockSize]}), nvme.ErrGone)
	r.soft.PowerFail(rng)
	require.NoError(t, r.c.Close())

	after := newRig(t, setup{cfg: softctrl.Config{WriteCache: true, Namespaces: []softctrl.NamespaceConfig{{Storage: store}}}})
	require.Equal(t, flushed, after.read(0, after.buf(len(flushed), nil)))
	require.Equal(t, fua, after.read(100, after.buf(len(fua), nil)))
	got := after.read(200, after.buf(len(lost), nil))
	require.NotEqual(t, lost, got, "64 sectors all survived")
	for i := 0; i < len(got); i += blockSize {
		b := got[i : i+blockSize]
		require.True(t, bytes.Equal(b, lost[i:i+blockSize]) || bytes.Count(b, []byte{0}) == blockSize)
	}
}
