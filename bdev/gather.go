package bdev

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// gatherMax is how many reads are submitted at once. Longer batches make the kernel no cheaper and let the device run
// out of work meanwhile.
const gatherMax = 16

// gather collects reads while the leader yields to the goroutines whose requests it has completed. Many of them submit
// their next request at once, and one submission of sixteen requests costs the kernel less than sixteen. Writes do not
// take part: submitting one may block, and whoever submits a batch delays the reads in it.
//
// The first read is not kept waiting, so that an idle device gets work: batches grow from 1 in powers of two. The reads
// of a batch that stays incomplete wait for the leader, who would not see their completions any sooner.
type gather struct {
	open atomic.Bool // a hint for submitters; mu.open decides
	mu   struct {
		sync.Mutex
		open  bool
		size  int        // of the present batch when it is complete
		batch *readBatch // nil before its first read
	}
}

// readBatch is reads that go to the queue together.
type readBatch struct {
	n  int
	rs [gatherMax]*Request
}

var readBatches = sync.Pool{New: func() any { return new(readBatch) }}

// yield lets other goroutines run and submits what they have left. Leader only.
func (c *shared) yield() {
	c.gather.begin()
	runtime.Gosched()
	if b := c.gather.end(); b != nil {
		for _, r := range c.submitBatch(b) {
			c.submitLeading(r)
		}
		b.free()
	}
}

// leave adds a request to the batch of a leader that gathers, and tells whether it did. Whoever completes a batch
// submits it.
func (c *shared) leave(r *Request) bool {
	if r.Op != OpRead {
		return false
	}
	left, full := c.gather.add(r)
	if full != nil {
		for _, r := range c.submitBatch(full) {
			c.submitNow(r)
		}
		full.free()
	}
	return left
}

// submitBatch returns the requests for which the queue had no room.
func (c *shared) submitBatch(b *readBatch) []*Request {
	rs := b.rs[:b.n]
	return rs[c.q.Submit(rs):]
}

func (g *gather) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.open, g.mu.size = true, 1
	g.open.Store(true)
}

// end returns the incomplete batch, if there is one. Nothing is left after it.
func (g *gather) end() *readBatch {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.mu.batch
	g.mu.open, g.mu.batch = false, nil
	g.open.Store(false)
	return b
}

// add fails when nobody gathers. It returns the batch that the request completes.
func (g *gather) add(r *Request) (left bool, full *readBatch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.mu.open {
		return false, nil
	}
	b := g.mu.batch
	if b == nil {
		b = readBatches.Get().(*readBatch)
		g.mu.batch = b
	}
	b.rs[b.n] = r
	b.n++
	if b.n < g.mu.size {
		return true, nil
	}
	g.mu.batch, g.mu.size = nil, min(2*g.mu.size, gatherMax)
	return true, b
}

// free drops the references to requests, which their owners may be using again.
func (b *readBatch) free() {
	clear(b.rs[:b.n])
	b.n = 0
	readBatches.Put(b)
}

// Lock order: gather.mu is taken with no other lock of this package held, and none is taken under it.
