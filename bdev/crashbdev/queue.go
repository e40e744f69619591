package crashbdev

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/blobkv/blobkv/bdev"
)

// queue keeps requests in flight from Submit to Poll, so that a flush submitted meanwhile does not cover them.
type queue struct {
	disk  *Disk
	depth int
	rng   *rand.Rand    // order of completion; nil for that of submission
	ready chan struct{} // capacity 1: something is outstanding

	mu          sync.Mutex
	outstanding []operation // guarded by mu

	taken []operation // poller only
}

func newQueue(d *Disk) *queue {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := &queue{disk: d, depth: d.options.QueueDepth, ready: make(chan struct{}, 1)}
	if seed := d.options.CompletionSeed; seed != 0 {
		q.rng = rand.New(rand.NewPCG(seed, 0))
	}
	return q
}

// Submit implements bdev.Queue.
func (q *queue) Submit(rs []*bdev.Request) int {
	q.mu.Lock()
	rs = rs[:min(len(rs), q.depth-len(q.outstanding))]
	q.disk.mu.Lock()
	for _, r := range rs {
		q.outstanding = append(q.outstanding, q.disk.begin(r))
	}
	q.disk.mu.Unlock()
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return len(rs)
}

// Poll implements bdev.Queue.
func (q *queue) Poll(limit int) int {
	q.take(limit)
	q.disk.mu.Lock()
	for i := range q.taken {
		q.taken[i].err = q.disk.finish(q.taken[i])
	}
	q.disk.mu.Unlock()
	for _, op := range q.taken {
		op.r.Complete(op.err)
	}
	n := len(q.taken)
	clear(q.taken)
	return n
}

// take moves the requests that complete now to taken.
func (q *queue) take(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(limit, len(q.outstanding))
	if q.rng != nil && n > 0 {
		n = 1 + q.rng.IntN(n)
		q.rng.Shuffle(len(q.outstanding), func(i, j int) {
			q.outstanding[i], q.outstanding[j] = q.outstanding[j], q.outstanding[i]
		})
	}
	q.taken = append(q.taken[:0], q.outstanding[:n]...)
	q.outstanding = slices.Delete(q.outstanding, 0, n)
}

// Wait implements bdev.Queue.
func (q *queue) Wait(timeout time.Duration) {
	q.mu.Lock()
	n := len(q.outstanding)
	q.mu.Unlock()
	if n > 0 {
		return
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-q.ready:
	case <-timer.C:
	}
}

// Close implements bdev.Queue.
func (q *queue) Close() error { return nil }
