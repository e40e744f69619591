package bdev_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/bdev"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a backend in memory whose queue completes requests late, in random order, and only when it is polled.
type fake struct {
	props bdev.Properties
	mem   []byte
	fail  func(r *bdev.Request) error // may be nil
	seed  uint64

	execute  func(r *bdev.Request) error // for Properties.Sync; nil: like the queue
	polls    atomic.Int64
	closed   atomic.Int64 // backends and queues closed
	gathered atomic.Int64 // submissions of several requests
	queues   atomic.Int64
	opened   []*fakeQueue // in the order of NewQueue, which is not called concurrently

	mu   sync.Mutex
	seen []seen
}

// seen is a request as the backend got it.
type seen struct {
	op     bdev.Op
	fua    bool
	off, n int64
}

const fakeSize = 1 << 20

// newFake has 64 KiB transfers, a volatile cache and a queue of depth 4 unless the caller changes props.
func newFake() *fake {
	return &fake{mem: make([]byte, fakeSize), props: bdev.Properties{
		BlockSize: 512, BlockCount: fakeSize / 512, BufferAlign: 1, MaxTransfer: 64 << 10, WriteCache: true,
		Native: bdev.Ops(bdev.OpRead, bdev.OpWrite, bdev.OpFlush), Sync: bdev.Ops(bdev.OpFlush), QueueDepth: 4,
	}}
}

// open puts the core on the fake; the test's end closes it.
func (f *fake) open(t *testing.T, o bdev.Options) *bdev.Device {
	t.Helper()
	d, err := bdev.New("fake:", f, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func (f *fake) Properties() bdev.Properties { return f.props }
func (f *fake) Resize(int64) error          { return bdev.ErrUnsupported }
func (f *fake) Close() error                { f.closed.Add(1); return nil }

func (f *fake) NewQueue() (bdev.Queue, error) {
	n := uint64(f.queues.Add(1))
	q := &fakeQueue{f: f, rng: rand.New(rand.NewPCG(f.seed, n)), ready: make(chan struct{}, 1)}
	f.opened = append(f.opened, q)
	return q, nil
}

func (f *fake) Execute(r *bdev.Request) error {
	if f.execute != nil {
		f.note(r)
		return f.execute(r)
	}
	return f.run(r)
}

func (f *fake) note(r *bdev.Request) {
	n := r.Length
	if r.Buf != nil {
		n = int64(len(r.Buf))
	}
	f.mu.Lock()
	f.seen = append(f.seen, seen{r.Op, r.FUA, r.Offset, n})
	f.mu.Unlock()
}

// requests returns what the backend got since the last call.
func (f *fake) requests() []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.seen
	f.seen = nil
	return s
}

func (f *fake) run(r *bdev.Request) error {
	f.note(r)
	if f.fail != nil {
		if err := f.fail(r); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.Op {
	case bdev.OpRead:
		copy(r.Buf, f.mem[r.Offset:])
	case bdev.OpWrite:
		copy(f.mem[r.Offset:], r.Buf)
	}
	return nil
}

type fakeQueue struct {
	f     *fake
	mu    sync.Mutex
	rng   *rand.Rand
	in    []*bdev.Request
	ready chan struct{}
	lead  atomic.Bool  // the poller is inside
	taken atomic.Int64 // requests
}

func (q *fakeQueue) Submit(rs []*bdev.Request) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(rs) > 1 {
		q.f.gathered.Add(1)
	}
	n := min(len(rs), q.f.props.QueueDepth-len(q.in))
	q.taken.Add(int64(n))
	q.in = append(q.in, rs[:n]...)
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return n
}

// Poll completes some requests, sometimes none.
func (q *fakeQueue) Poll(max int) int {
	q.enter("Poll")
	defer q.lead.Store(false)
	q.f.polls.Add(1)
	q.mu.Lock()
	var done []*bdev.Request
	for len(q.in) > 0 && len(done) < max && q.rng.IntN(3) > 0 {
		i := q.rng.IntN(len(q.in))
		done = append(done, q.in[i])
		q.in = append(q.in[:i], q.in[i+1:]...)
	}
	q.mu.Unlock()
	for _, r := range done {
		r.Complete(q.f.run(r))
	}
	return len(done)
}

// enter fails when two goroutines poll at once.
func (q *fakeQueue) enter(what string) {
	if !q.lead.CompareAndSwap(false, true) {
		panic("two pollers in " + what)
	}
}

func (q *fakeQueue) Wait(timeout time.Duration) {
	q.enter("Wait")
	defer q.lead.Store(false)
	q.mu.Lock()
	busy := len(q.in) > 0
	q.mu.Unlock()
	if busy {
		return
	}
	select {
	case <-q.ready:
	case <-time.After(timeout):
	}
}

func (q *fakeQueue) Close() error {
	q.f.closed.Add(1)
	return nil
}
