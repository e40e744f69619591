package bdev

import (
	"sync"
	"sync/atomic"
	"time"
)

// armDelay is how long requests without a waiter are left to one that may come: most are waited for soon after, and
// their waiter polls at no extra cost.
const armDelay = 100 * time.Microsecond

// backgroundSlice is one Queue.Wait of the background poller, short because a waiter may want the lead.
const backgroundSlice = time.Millisecond

// background is the poller for requests that nobody waits for. It is a goroutine that exists only while there are
// any: a timer starts it, and it ends with the last of them or when a waiter wants the lead.
type background struct {
	armed   atomic.Bool
	running sync.WaitGroup
	mu      sync.Mutex // guards timer
	timer   *time.Timer
}

// arm makes sure that the background poller looks at the channel within the delay. The caller has counted its
// requests in async.
func (c *shared) arm(delay time.Duration) {
	b := &c.background
	if c.lead.Load() && delay > 0 || c.async.Load() == 0 || !b.armed.CompareAndSwap(false, true) {
		return
	}
	b.running.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer == nil {
		b.timer = time.AfterFunc(delay, c.leadBackground)
		return
	}
	b.timer.Reset(delay)
}

// leadBackground polls while there are requests without a waiter. If it finds another leader, that one arms it again
// when it is through.
func (c *shared) leadBackground() {
	defer c.background.running.Done()
	c.background.armed.Store(false)
	if c.async.Load() == 0 || !c.tryLead() {
		return
	}
	defer c.release()
	for c.async.Load() > 0 {
		if c.poll() == 0 && c.async.Load() > 0 {
			c.q.Wait(backgroundSlice)
		}
		if c.wanted.Load() {
			return
		}
	}
}

// stop waits for the goroutine to end. Nothing is in flight, so it is not started again.
func (b *background) stop() {
	b.mu.Lock()
	if b.timer != nil && b.timer.Stop() {
		b.running.Done()
	}
	b.mu.Unlock()
	b.running.Wait()
}
