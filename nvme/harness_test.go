package nvme_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// fakeClock passes only when somebody sleeps.
type fakeClock struct{ now atomic.Int64 }

func (c *fakeClock) Now() time.Duration    { return time.Duration(c.now.Load()) }
func (c *fakeClock) Sleep(d time.Duration) { c.now.Add(int64(max(d, time.Microsecond))) }

// rig is a driver on a software controller.
type rig struct {
	t     testing.TB
	clock *fakeClock
	tr    *softctrl.Transport
	soft  *softctrl.Controller
	c     *nvme.Controller
	q     *nvme.Queue
	ns    *nvme.Namespace
	mem   []byte // registered
	used  int

	mu     sync.Mutex
	events []nvme.Event
}

const (
	blockSize = 512
	numBlocks = 1 << 14
	rigMemory = 4 << 20
)

type setup struct {
	cfg   softctrl.Config
	tr    softctrl.TransportOptions
	o     nvme.Options
	queue nvme.QueueOptions
	// started is called before the driver opens the controller.
	started func(*softctrl.Controller)
}

func ram(t testing.TB, bytes int64, cache bool) *softctrl.RAM {
	r, err := softctrl.NewRAM(bytes, cache)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Free()) })
	return r
}

// newRig opens a driver with one namespace of 512-byte blocks, unless the setup says something else. At the end the controller
// is closed and nothing may be left of it.
func newRig(t testing.TB, s setup) *rig {
	t.Helper()
	r, err := tryRig(t, s)
	require.NoError(t, err)
	r.q, err = r.c.OpenQueue(s.queue)
	require.NoError(t, err)
	if all := r.c.Namespaces(); len(all) > 0 {
		r.ns = all[0]
	}
	r.mem, err = r.c.Alloc(rigMemory)
	require.NoError(t, err)
	t.Cleanup(r.close)
	return r
}

func tryRig(t testing.TB, s setup) (*rig, error) {
	r := &rig{t: t, clock: &fakeClock{}}
	if s.cfg.Namespaces == nil {
		s.cfg.Namespaces = []softctrl.NamespaceConfig{{Storage: ram(t, numBlocks*blockSize, false)}}
	}
	s.cfg.Now = r.clock.Now
	if s.o.Clock == nil {
		s.o.Clock = r.clock
	}
	if s.o.Queues == 0 {
		s.o.Queues = 4
	}
	s.o.OnEvent = r.event
	var err error
	r.tr, err = softctrl.NewTransport(s.cfg, s.tr)
	require.NoError(t, err)
	r.soft = r.tr.Controller()
	if s.started != nil {
		s.started(r.soft)
	}
	r.c, err = nvme.Open(r.tr, s.o)
	if err != nil {
		require.Zero(t, r.tr.Mappings(), "memory is left after Open failed")
	}
	return r, err
}

func (r *rig) close() {
	require.LessOrEqual(r.t, r.c.MemoryUsed(), int64(4<<20))
	require.NoError(r.t, r.c.Close())
	require.Zero(r.t, r.tr.Mappings(), "memory is left after Close")
}

func (r *rig) event(e nvme.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// saw tells whether an event of a kind came, and forgets all.
func (r *rig) saw(kind nvme.EventKind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := false
	for _, e := range r.events {
		found = found || e.Kind == kind
	}
	r.events = nil
	return found
}

// buf takes n bytes of registered memory, filled with random bytes.
func (r *rig) buf(n int, rng *rand.Rand) []byte {
	require.LessOrEqual(r.t, r.used+n, len(r.mem))
	b := r.mem[r.used : r.used+n : r.used+n]
	r.used += (n + 3) &^ 3
	if rng != nil {
		fill(b, rng)
	}
	return b
}

// fill makes bytes random.
func fill(b []byte, rng *rand.Rand) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, rng.Uint64())
	}
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

func (r *rig) do(req nvme.Request) error { return r.q.Do(&req) }

func (r *rig) write(lba uint64, b []byte) {
	require.NoError(r.t, r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, LBA: lba, Buf: b}))
}

func (r *rig) read(lba uint64, b []byte) []byte {
	require.NoError(r.t, r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: lba, Buf: b}))
	return b
}

// within runs something that waits, and fails when the clock shows that it took longer than it may.
func (r *rig) within(limit time.Duration, f func()) {
	start := r.clock.Now()
	f()
	require.LessOrEqual(r.t, r.clock.Now()-start, limit)
}

// settle polls until a condition holds, for a bounded time on the clock.
func (r *rig) settle(what string, cond func() bool) {
	r.t.Helper()
	for deadline := r.clock.Now() + time.Minute; !cond(); r.clock.Sleep(time.Millisecond) {
		require.Less(r.t, r.clock.Now(), deadline, what)
		_ = r.c.Poll()
	}
}

// watch keeps the commands that a controller is given.
type watch struct{ admin, io []spec.Command }

func (w *watch) observe(sqid uint16, cmd spec.Command) {
	if sqid == 0 {
		w.admin = append(w.admin, cmd)
	} else {
		w.io = append(w.io, cmd)
	}
}

// takeAdmin returns the admin commands of an opcode, takeIO all I/O commands; both forget everything.
func (w *watch) takeAdmin(opcode uint8) (cmds []spec.Command) {
	for _, c := range w.admin {
		if c.Opcode == opcode {
			cmds = append(cmds, c)
		}
	}
	*w = watch{}
	return cmds
}

func (w *watch) takeIO() []spec.Command {
	cmds := w.io
	*w = watch{}
	return cmds
}

// lying makes a controller say something else in one of its identify data structures.
func lying(cns, csi uint8, lie func(page []byte)) func(cns, csi uint8, nsid uint32, page []byte) {
	return func(c, set uint8, _ uint32, page []byte) {
		if c == cns && set == csi && lie != nil {
			lie(page)
		}
	}
}

func newRand(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 7))
}

// alignedArena is page aligned memory outside the Go heap that nobody registered.
func alignedArena(t testing.TB, n int) []byte {
	region, err := dmabuf.NewRegion(int64(n))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, region.Free()) })
	return region.Bytes()
}

// realClock is the system's, for tests with a server that runs by itself.
type realClock struct{ origin time.Time }

func hostClock() nvme.Clock               { return realClock{time.Now()} }
func (c realClock) Now() time.Duration    { return time.Since(c.origin) }
func (c realClock) Sleep(d time.Duration) { time.Sleep(d) }

// serveLate makes newRig start a goroutine that serves the controller's doorbells until the test ends.
func serveLate(t testing.TB, s *setup) *atomic.Int64 {
	var served atomic.Int64
	s.started = func(c *softctrl.Controller) {
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					if n, _ := c.Process(); n > 0 {
						served.Add(int64(n))
					} else {
						runtime.Gosched()
					}
				}
			}
		}()
		t.Cleanup(func() { close(stop); <-done })
	}
	return &served
}
