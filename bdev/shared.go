package bdev

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/internal/invariants"
	"github.com/blobkv/blobkv/reactor"
)

// shared is a queue that any number of goroutines use. Submission needs no lock. One goroutine at a time, the
// leader, polls for all; it is one of those that wait for a request of their own, or the background reactor. The
// others sleep. The exception to submission without a lock are reads while a leader gathers them (gather.go).
//
// No wake-up is lost: a goroutine that is about to sleep registers first (parked, or the count of submitters waiting
// for room) and then looks whether there is a leader; a leader gives the lead up first and then looks who has
// registered.
type shared struct {
	dev   *Device
	q     Queue
	stats stats

	inflight atomic.Int64 // requests from begin to completed, also those no queue sees
	async    atomic.Int64 // of them, queued ones submitted without a waiter
	bounced  atomic.Int64 // pieces that hold memory of the pool of all devices
	lead     atomic.Bool  // somebody polls
	sleepers atomic.Int64 // parked requests and submitters in mu
	pacer    pacer        // the leader's

	mu struct {
		sync.Mutex
		newest  *Request // parked requests, linked by older and newer
		waiting int      // submitters waiting for room
		tokens  int      // of them, how many may try again
	}
	room   sync.Cond // mu; signalled for each token
	gather gather

	poller *reactor.Poller // of requests without a waiter; set once, by Device.startBackground
}

func newShared(d *Device, q Queue) *shared {
	c := &shared{dev: d, q: q, pacer: newPacer(q, d.policy)}
	c.room.L = &c.mu
	return c
}

// send hands a request to the queue, in pieces if need be.
func (c *shared) send(r *Request) {
	r.polled = true
	if c.dev.fits(r) {
		c.submit(r)
		return
	}
	c.split(r)
}

// sendWhole is send for what is not to be cut.
func (c *shared) sendWhole(r *Request) {
	r.polled = true
	c.submit(r)
}

// submit hands one request to the queue, or to a leader who does so soon. It waits for room when the queue is full.
func (c *shared) submit(r *Request) {
	if c.gather.open.Load() && c.leave(r) {
		return
	}
	c.submitNow(r)
}

func (c *shared) submitNow(r *Request) {
	r.self[0] = r
	for c.q.Submit(r.self[:]) == 0 {
		if c.tryLead() {
			defer c.release()
			c.submitLeading(r)
			return
		} else if c.awaitRoom(r) {
			return
		}
	}
}

// submitLeading polls until the queue has taken the request.
func (c *shared) submitLeading(r *Request) {
	c.pacer.start(r.Op)
	r.self[0] = r
	for c.q.Submit(r.self[:]) == 0 {
		c.pacer.polled(c.poll())
	}
}

// awaitRoom sleeps until a leader has made room; it tells whether the queue took the request meanwhile. The second try
// comes after registering: if the queue is still full then, whoever polls next sees the registration.
func (c *shared) awaitRoom(r *Request) bool {
	c.mu.Lock()
	c.mu.waiting++
	c.mu.Unlock()
	c.sleepers.Add(1)
	taken := c.q.Submit(r.self[:]) != 0
	c.mu.Lock()
	for !taken && c.mu.tokens == 0 && c.lead.Load() {
		c.room.Wait()
	}
	c.mu.waiting--
	c.mu.tokens = min(max(c.mu.tokens-1, 0), c.mu.waiting)
	c.mu.Unlock()
	c.sleepers.Add(-1)
	return taken
}

// wait returns when the request is done, leading or sleeping.
func (c *shared) wait(r *Request) {
	for !r.Done() {
		if c.tryLead() {
			c.leadUntil(r)
		} else {
			c.park(r)
		}
	}
}

func (c *shared) tryLead() bool {
	return !c.lead.Load() && c.lead.CompareAndSwap(false, true)
}

// leadUntil polls until the request is done. Others whose requests are done go on first.
func (c *shared) leadUntil(r *Request) {
	defer c.release()
	c.pacer.start(r.Op)
	for !r.Done() {
		n := c.poll()
		if c.sleepers.Load() > 0 && (n > 1 || n == 1 && !r.Done()) {
			c.yield()
		}
		c.pacer.polled(n)
	}
	c.pacer.end(c.pacer.waited())
}

// poll completes what is ready and lets submitters that wait for room try again. Leader only.
func (c *shared) poll() int {
	if invariants.Enabled && !c.lead.Load() {
		panic(c.dev.name + ": polled by a goroutine that does not lead")
	}
	n := c.q.Poll(c.dev.props.QueueDepth)
	if n > 0 && c.sleepers.Load() > 0 {
		c.mu.Lock()
		c.grant(n)
		c.mu.Unlock()
	}
	return n
}

// grant is called with mu held.
func (c *shared) grant(n int) {
	for n = min(n, c.mu.waiting-c.mu.tokens); n > 0; n-- {
		c.mu.tokens++
		c.room.Signal()
	}
}

// release gives the lead to the goroutine that parked last: its request has the longest way to go, so the lead
// changes hands seldom.
func (c *shared) release() {
	c.lead.Store(false)
	if c.sleepers.Load() > 0 {
		c.mu.Lock()
		roused := c.rouseNewest()
		if !roused {
			c.room.Broadcast()
		}
		c.mu.Unlock()
		if roused {
			return
		}
	}
	c.arm()
}

// rouseNewest is called with mu held.
func (c *shared) rouseNewest() bool {
	for r := c.mu.newest; r != nil; r = c.mu.newest {
		c.unlist(r)
		if r.rouse() {
			return true
		}
	}
	return false
}

// park sleeps until the request is done or the lead is offered.
func (c *shared) park(r *Request) {
	if !c.list(r) {
		return
	}
	if !c.lead.Load() && r.state.CompareAndSwap(stateParked, stateInFlight) {
		c.delist(r)
		return
	}
	<-r.waiter
	c.delist(r)
}

// list registers a sleeping request; false if it is done.
func (c *shared) list(r *Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.tryPark() {
		return false
	}
	r.listed, r.newer, r.older = true, nil, c.mu.newest
	if r.older != nil {
		r.older.newer = r
	}
	c.mu.newest = r
	c.sleepers.Add(1)
	return true
}

func (c *shared) delist(r *Request) {
	c.mu.Lock()
	if r.listed {
		c.unlist(r)
	}
	c.mu.Unlock()
}

// unlist is called with mu held.
func (c *shared) unlist(r *Request) {
	if r.newer != nil {
		r.newer.older = r.older
	} else {
		c.mu.newest = r.older
	}
	if r.older != nil {
		r.older.newer = r.newer
	}
	r.listed, r.newer, r.older = false, nil, nil
	c.sleepers.Add(-1)
}

// close takes the lead for good and releases the queue. Nothing is in flight.
func (c *shared) close() error {
	for !c.tryLead() {
		time.Sleep(10 * time.Microsecond)
	}
	return c.q.Close()
}

// Lock order: shared.mu is taken with no other lock of this package held, and none is taken under it.
