package bdev

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/internal/invariants"
)

// Channel is a private queue pair: one goroutine at a time submits and polls. It has no locks on the path of a plain
// read or write and reads the clock once per batch.
type Channel struct {
	d       *Device
	q       Queue
	ready   []*Request // finished, from index head on not yet handed out
	head    int
	backlog requestList   // pieces the queue had no room or memory for
	mem     *dmabuf.Pool  // bounce buffers, its own: whoever waits for those of all devices cannot poll the channel
	active  int           // requests submitted and not handed out
	slow    int           // of them, those that workers carry out
	latency time.Duration // of the last batch
	newest  Op            // of what was submitted last
	pacer   pacer
	stats   stats
	busy    atomic.Bool // somebody is inside; kept in the invariants build

	nLate atomic.Int64  // requests in late
	ring  chan struct{} // a token when late may hold something
	late  struct {
		sync.Mutex
		list requestList // finished by workers
	}
}

// channelMemory bounds the bounce buffers of a Channel, in bytes.
const channelMemory = 4 << 20

// OpenChannel opens a private queue pair, for benchmarks and reactors.
func (d *Device) OpenChannel() (*Channel, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return nil, fmt.Errorf("%s: opening a channel: %w", d.name, ErrClosed)
	}
	q, err := d.b.NewQueue()
	if err != nil {
		return nil, fmt.Errorf("%s: opening a channel: %w", d.name, err)
	}
	c := &Channel{
		d: d, q: q, ready: make([]*Request, 0, 2*d.props.QueueDepth), ring: make(chan struct{}, 1),
		mem: dmabuf.NewPool(channelMemory),
	}
	c.pacer = newPacer(channelSleeper{c}, d.policy)
	d.mu.channels[c] = struct{}{}
	return c, nil
}

// Submit starts requests in order and returns how many the channel took: fewer than len(rs) means the queue is full,
// poll and submit the rest again. A request that is refused counts as taken; Poll hands it out with its error.
func (c *Channel) Submit(rs []*Request) int {
	if invariants.Enabled {
		c.enter()
		defer c.busy.Store(false)
	}
	now := monotonic()
	for taken := 0; taken < len(rs); {
		n := 0
		for _, r := range rs[taken:] {
			if !c.prepare(r, now) {
				break
			}
			n++
		}
		if n > 0 {
			got := c.q.Submit(rs[taken : taken+n])
			c.active += got
			if taken += got; got < n {
				return taken
			}
		}
		if taken < len(rs) {
			c.active++
			c.submitOther(rs[taken])
			taken++
		}
	}
	return len(rs)
}

// enter panics when two goroutines use the channel at once.
func (c *Channel) enter() {
	if !c.busy.CompareAndSwap(false, true) {
		panic(c.d.name + ": two goroutines on one channel")
	}
}

// prepare readies a request for submission and tells whether the backend takes it as it is.
func (c *Channel) prepare(r *Request, now time.Duration) bool {
	d := c.d
	r.dev, r.own, r.parent, r.err, r.started = d, c, nil, nil, now
	c.newest = r.Op
	n := int64(len(r.Buf))
	return r.Op <= OpWrite && n > 0 && d.isQueued(r) && !(d.props.ReadOnly && r.Op == OpWrite) &&
		(r.Offset|n)&int64(d.props.BlockSize-1) == 0 &&
		uint64(r.Offset) <= uint64(d.Size()) && n <= d.Size()-r.Offset && d.fits(r)
}

// submitOther starts a request that needs the core: refused, split, bounced, blocking or emulated.
func (c *Channel) submitOther(r *Request) {
	r.internal, r.polled, r.async = false, false, false
	r.state.Store(stateInFlight)
	err := c.d.check(r)
	switch {
	case err != nil || r.Op.ranged() && r.size() == 0:
		c.completed(r, err)
	case !c.d.isQueued(r):
		c.slow++
		c.d.workers.submit(c.d, r)
	case c.d.fits(r):
		c.backlog.push(r)
		c.submitBacklog()
	default:
		c.split(r)
	}
}

func (c *Channel) split(r *Request) {
	s := newSplitter(c.d, r)
	r.pieces.Store(1)
	r.failed.Store(false)
	for p := s.next(); p != nil; p = s.next() {
		r.pieces.Add(1)
		c.backlog.push(p)
	}
	c.submitBacklog()
	r.pieceDone()
}

// submitBacklog sends pieces while there is memory and room for them.
func (c *Channel) submitBacklog() {
	for c.backlog.head != nil {
		p := c.backlog.head
		if p.user == nil && p.parent != nil && !c.d.reaches(p.Buf) {
			b, ok := c.mem.TryGet(len(p.Buf))
			if !ok {
				return
			}
			if err := p.bounce(b, c.mem); err != nil {
				c.backlog.pop()
				p.completePiece(err)
				continue
			}
		}
		c.backlog.pop()
		p.self[0] = p
		if c.q.Submit(p.self[:]) == 0 {
			c.pushFront(p)
			return
		}
	}
}

func (c *Channel) pushFront(p *Request) {
	if p.next = c.backlog.head; p.next == nil {
		c.backlog.tail = p
	}
	c.backlog.head = p
}

// completed is called by the queue, on the goroutine that owns the channel.
func (c *Channel) completed(r *Request, err error) {
	if err != nil {
		r.err = r.wrap(err)
	}
	c.ready = append(c.ready, r)
}

// finishedLate is called by workers.
func (c *Channel) finishedLate(r *Request, err error) {
	r.err = r.wrap(err)
	c.late.Lock()
	c.late.list.push(r)
	c.late.Unlock()
	c.nLate.Add(1)
	select {
	case c.ring <- struct{}{}:
	default:
	}
}

func (c *Channel) collectLate() {
	c.late.Lock()
	defer c.late.Unlock()
	for r := c.late.list.pop(); r != nil; r = c.late.list.pop() {
		c.ready = append(c.ready, r)
		c.nLate.Add(-1)
		c.slow--
	}
}

// Poll fills done with finished requests and returns how many there are. It never blocks.
func (c *Channel) Poll(done []*Request) int {
	if invariants.Enabled {
		c.enter()
		defer c.busy.Store(false)
	}
	if c.nLate.Load() > 0 {
		c.collectLate()
	}
	if room := len(done) - (len(c.ready) - c.head); room > 0 {
		c.q.Poll(room)
	}
	if c.backlog.head != nil {
		c.submitBacklog()
	}
	n := copy(done, c.ready[c.head:])
	if n == 0 {
		return 0
	}
	c.account(done[:n])
	c.active -= n
	if c.head += n; c.head == len(c.ready) {
		c.ready, c.head = c.ready[:0], 0
	}
	return n
}

// Wait is Poll that waits for at least one finished request, as the device's policy says. It returns 0 only when
// nothing was submitted.
func (c *Channel) Wait(done []*Request) int {
	n := c.Poll(done)
	if n > 0 || c.active == 0 || len(done) == 0 {
		return n
	}
	c.pacer.start(c.newest)
	for n == 0 {
		c.pacer.polled(n)
		n = c.Poll(done)
	}
	c.pacer.end(c.latency)
	return n
}

// channelSleeper sleeps until the queue or a worker has finished something.
type channelSleeper struct{ c *Channel }

func (s channelSleeper) Wait(timeout time.Duration) {
	c := s.c
	switch {
	case c.nLate.Load() > 0:
	case c.slow == 0:
		c.q.Wait(timeout)
	case c.slow == c.active:
		<-c.ring
	default:
		c.q.Wait(min(timeout, mixedSlice))
	}
}

// account records a batch under one reading of the clock. Runs of equal requests are recorded at once.
func (c *Channel) account(rs []*Request) {
	now := monotonic()
	for len(rs) > 0 {
		first, n, bytes := rs[0], 0, int64(0)
		for n < len(rs) && sameRun(first, rs[n]) {
			rs[n].markDone()
			bytes += rs[n].size()
			n++
		}
		latency := now - first.started
		c.stats.recordRun(first.Op, n, bytes, latency, first.err)
		c.latency = latency
		rs = rs[n:]
	}
}

// markDone avoids the store, which costs more than the load, when the request comes around again.
func (r *Request) markDone() {
	if r.state.Load() != stateDone {
		r.state.Store(stateDone)
	}
}

// sameRun tells whether two requests count alike.
func sameRun(a, b *Request) bool {
	return a.Op == b.Op && a.started == b.started && (a.err == nil) == (b.err == nil)
}

// Close releases the channel. It fails with ErrInUse while requests are outstanding.
func (c *Channel) Close() error {
	d := c.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.active > 0 {
		return fmt.Errorf("%s: closing a channel with %d requests outstanding: %w", d.name, c.active, ErrInUse)
	}
	if _, open := d.mu.channels[c]; !open {
		return fmt.Errorf("%s: closing a channel: %w", d.name, ErrClosed)
	}
	delete(d.mu.channels, c)
	d.mu.retired.merge(&c.stats)
	err := c.q.Close()
	if e := c.mem.Close(); err == nil {
		err = e
	}
	return err
}
