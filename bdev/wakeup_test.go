package bdev_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

// TestNoLostWakeup runs rounds of one request per goroutine, all at once. A wake-up that is lost has nobody after it
// who would make up for it, so the round does not end.
func TestNoLostWakeup(t *testing.T) {
	for name, c := range map[string]struct {
		waiting, unattended, depth int
	}{
		"two waiters":           {2, 0, 8},
		"three for one slot":    {3, 0, 1},
		"one waits, one not":    {1, 1, 8},
		"nobody waits":          {0, 2, 1},
		"everybody for a place": {2, 2, 1},
		"batches for few slots": {20, 2, 3},
	} {
		for _, procs := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d", name, procs), func(t *testing.T) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				f := newFake()
				f.props.QueueDepth, f.seed = c.depth, rand.Uint64()
				r := newRounds(f.open(t, bdev.Options{Channels: 1, Policy: bdev.PolicyPoll}))
				r.start(c.waiting, r.d.Do)
				r.start(c.unattended, r.submit)
				r.run(t, 300*time.Millisecond)
			})
		}
	}
}

// rounds has goroutines act together, again and again.
type rounds struct {
	d       *bdev.Device
	workers int
	wg      sync.WaitGroup
	round   atomic.Int64 // -1: over
	arrived atomic.Int64
}

func newRounds(d *bdev.Device) *rounds { return &rounds{d: d} }

// submit has a request finished by nobody's waiting.
func (r *rounds) submit(q *bdev.Request) error {
	r.d.Submit(q)
	for !q.Done() {
		runtime.Gosched()
	}
	return q.Err()
}

// start adds n goroutines that do one request a round.
func (r *rounds) start(n int, do func(*bdev.Request) error) {
	for range n {
		r.workers++
		r.wg.Go(func() {
			q := bdev.GetRequest()
			defer bdev.PutRequest(q)
			q.Op, q.Buf = bdev.OpRead, make([]byte, 512)
			for next := int64(1); ; next++ {
				for r.round.Load() != next {
					if r.round.Load() < 0 {
						return
					}
					runtime.Gosched()
				}
				if do(q) == nil {
					r.arrived.Add(1)
				}
			}
		})
	}
}

// run starts rounds for a while and wants each to end.
func (r *rounds) run(t *testing.T, d time.Duration) {
	end := time.Now().Add(d)
	for n := int64(1); time.Now().Before(end); n++ {
		r.arrived.Store(0)
		r.round.Store(n)
		deadline := time.Now().Add(10 * time.Second)
		for r.arrived.Load() != int64(r.workers) {
			require.True(t, time.Now().Before(deadline), "round %d does not end: %d of %d are back", n, r.arrived.Load(), r.workers)
			runtime.Gosched()
		}
	}
	t.Logf("%d rounds", r.round.Load())
	r.round.Store(-1)
	r.wg.Wait()
}
