package reactor

import (
	"container/heap"
	"runtime"
	"time"
)

// Between polls of armed pollers that cannot announce their work the loop sleeps in steps that double from minNap
// to maxNap. maxNap also bounds PollerOptions.Wait, which messages cannot interrupt.
const (
	minNap = 50 * time.Microsecond
	maxNap = time.Millisecond
)

// forever is a sleep that only a message or a change ends.
const forever time.Duration = -1

// loop makes passes until the reactor is stopped.
func (r *Reactor) loop() {
	for !r.stopping.Load() {
		busy := r.pass()
		now := r.account(busy)
		if r.count.passes%publishEvery == 0 {
			r.publish()
		}
		if !busy {
			r.rest(now)
		}
	}
	r.drain()
	r.publish()
}

// pass runs the waiting messages, each armed busy poller once and each due timer once. Messages sent meanwhile wait
// for the next pass, so that neither kind of work starves the other.
func (r *Reactor) pass() (busy bool) {
	r.count.passes++
	if r.changed.Load() {
		r.rebuild(r.clock.Now())
	}
	busy = r.runMessages()
	for _, p := range r.busy {
		_, b := p.run()
		busy = busy || b
	}
	if len(r.timers) > 0 && r.runTimers(r.clock.Now()) {
		busy = true
	}
	return busy
}

func (r *Reactor) runMessages() (busy bool) {
	batch := r.mail.take()
	if batch == nil {
		return false
	}
	for _, fn := range batch {
		fn()
	}
	r.count.messages += uint64(len(batch))
	r.mail.recycle(batch)
	return true
}

// drain runs the accepted messages of a stopped reactor, whose mailbox takes no more, and retires its pollers.
func (r *Reactor) drain() {
	r.runMessages()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.mu.pollers {
		p.kill()
	}
}

// rebuild brings the lists that a pass walks in line with the registered pollers.
func (r *Reactor) rebuild(now time.Duration) {
	// Cleared first: a change during the walk sets it again for the next pass.
	r.changed.Store(false)
	clear(r.busy)
	clear(r.timers)
	r.busy, r.timers = r.busy[:0], r.timers[:0]
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.mu.pollers {
		switch {
		case p.period == 0:
			r.busy = append(r.busy, p)
		case p.Armed():
			if p.fresh.Swap(false) {
				p.deadline = deadlineAfter(now, p.period)
			}
			r.timers = append(r.timers, p)
		}
	}
	heap.Init(&r.timers)
}

// rest does what the mode says after a pass that found nothing.
func (r *Reactor) rest(now time.Duration) {
	switch {
	case r.mode == Poll:
		r.yield()
	case r.mode == Adaptive && r.lastBusy > 0 && now-r.lastBusy < r.spin:
	default:
		r.sleep(now)
	}
}

// yield lets other goroutines run where a polling loop would starve them: on the only processor the runtime has.
// With more of them it stays, since yielding from a locked thread costs two thread switches.
func (r *Reactor) yield() {
	if r.count.passes%64 == 0 && runtime.GOMAXPROCS(0) == 1 {
		runtime.Gosched()
	}
}

// sleep blocks until there may be work.
func (r *Reactor) sleep(now time.Duration) {
	limit, waiter := r.sleepLimit(now)
	if limit == 0 {
		return
	}
	r.publish()
	if waiter != nil {
		waiter.block(limit)
	} else {
		r.park(limit)
	}
	r.accountSleep()
}

// sleepLimit returns how long the loop may sleep and, when it is the only armed busy poller and can, the poller whose
// Wait should do so.
func (r *Reactor) sleepLimit(now time.Duration) (limit time.Duration, waiter *Poller) {
	limit = forever
	if d, ok := r.untilTimer(now); ok {
		limit = d
	}
	armed := 0
	for _, p := range r.busy {
		if p.Armed() {
			armed++
			waiter = p
		}
	}
	if armed == 0 {
		return limit, nil
	}
	nap := maxNap
	if armed > 1 || waiter.wait == nil {
		waiter = nil
		nap = r.nextNap()
	}
	if limit == forever || nap < limit {
		limit = nap
	}
	return limit, waiter
}

// nextNap doubles from minNap to maxNap in a row of passes without work.
func (r *Reactor) nextNap() time.Duration {
	nap := min(minNap<<r.naps, maxNap)
	if nap < maxNap {
		r.naps++
	}
	return nap
}

// park blocks until wake or the limit. Setting parked before the last look at what wake announces means that either
// the look sees the announcement or the announcer sees parked: no wake-up is lost.
func (r *Reactor) park(limit time.Duration) {
	r.parked.Store(true)
	defer r.parked.Store(false)
	if r.mail.pending.Load() > 0 || r.changed.Load() || r.stopping.Load() {
		return
	}
	if limit == forever {
		<-r.wakeup
		return
	}
	if r.napTimer == nil {
		r.napTimer = time.NewTimer(limit)
	} else {
		r.napTimer.Reset(limit)
	}
	select {
	case <-r.wakeup:
		r.napTimer.Stop()
	case <-r.napTimer.C:
	}
}

// wake ends a sleep. Its caller has already made visible what the loop is to find.
func (r *Reactor) wake() {
	if !r.parked.Load() || !r.parked.CompareAndSwap(true, false) {
		return
	}
	select {
	case r.wakeup <- struct{}{}:
	default: // a token of an earlier sleep that ended by its timeout is still there and does as well
	}
}

// noteChange makes the loop look at the registered pollers again.
func (r *Reactor) noteChange() {
	r.changed.Store(true)
	r.wake()
}
