package reactor

import (
	"sync/atomic"
	"time"
)

// Func polls once, without blocking, and reports whether it found work to do.
type Func func() (busy bool)

// PollerOptions describe a poller to RegisterWith.
type PollerOptions struct {
	Name string // for statistics
	Poll Func   // called on the reactor; required
	// Period makes a timed poller: it runs that long after it was armed and then that long after each run. A late
	// run is not caught up. Zero means a busy poller, which runs in every pass.
	Period time.Duration
	// Wait, for a busy poller, blocks until Poll would find work or the time has passed. A reactor that would go to
	// sleep calls it instead when this is its only armed busy poller. It delays messages by at most a millisecond.
	Wait func(limit time.Duration)
	// Disarmed registers the poller without arming it.
	Disarmed bool
}

// The bits of Poller.state.
const (
	pollerArmed   uint32 = 1 << iota // may run
	pollerRunning                    // a callback of it is on the stack of the reactor
	pollerDead                       // unregistered; never runs again
)

// Poller is a function that a reactor calls over and over. Its methods may be called from any goroutine.
type Poller struct {
	r      *Reactor
	name   string
	poll   Func
	wait   func(time.Duration)
	period time.Duration

	state    atomic.Uint32
	fresh    atomic.Bool   // armed since the reactor last looked: the period starts anew
	quiesced chan struct{} // closed when the last call of an unregistered poller has returned

	// Reactor goroutine only.
	deadline time.Duration
	runs     uint64
	busyRuns uint64

	// Copies of the counters for Stats.
	published struct{ runs, busyRuns atomic.Uint64 }
}

func newPoller(r *Reactor, o PollerOptions) *Poller {
	p := &Poller{
		r: r, name: o.Name, poll: o.Poll, wait: o.Wait, period: max(o.Period, 0),
		quiesced: make(chan struct{}),
	}
	p.fresh.Store(true)
	if !o.Disarmed {
		p.state.Store(pollerArmed)
	}
	return p
}

// Arm lets the poller run from the next pass on (a timed one: after its period) and wakes the reactor. Arming an
// armed poller does nothing and is cheap.
//
// A poller that disarms itself when nothing is outstanding must look again after Disarm and arm itself if something
// has come meanwhile; with submitters that first count their work and then call Arm, no work is left unpolled.
func (p *Poller) Arm() {
	if p.state.Load()&pollerArmed != 0 {
		return
	}
	p.fresh.Store(true)
	if p.state.Or(pollerArmed)&pollerArmed == 0 {
		p.r.noteChange()
	}
}

// Disarm keeps the poller from running until Arm. No call starts after Disarm has returned; one that has already
// started may still be running.
func (p *Poller) Disarm() { p.state.And(^pollerArmed) }

// Armed reports whether the poller may run.
func (p *Poller) Armed() bool { return p.state.Load()&(pollerArmed|pollerDead) == pollerArmed }

// Unregister removes the poller for good and waits for a running call to return; from inside a callback of the same
// reactor it does not wait. The caller must not hold a lock that the poll function takes. Calling it again is
// harmless.
func (p *Poller) Unregister() {
	old := p.state.Or(pollerDead)
	if old&pollerDead == 0 {
		p.r.forget(p)
	}
	if old&pollerRunning != 0 && !p.r.OnReactor() {
		<-p.quiesced
	}
}

// run calls the poll function if the poller may run.
func (p *Poller) run() (ran, busy bool) {
	if !p.enter() {
		return false, false
	}
	defer p.leave()
	p.runs++
	if busy = p.poll(); busy {
		p.busyRuns++
	}
	return true, busy
}

// block calls the wait function if the poller may run.
func (p *Poller) block(limit time.Duration) {
	if !p.enter() {
		return
	}
	defer p.leave()
	p.wait(limit)
}

// enter marks the poller running. A lost race against Arm, Disarm or Unregister skips one pass, which is harmless:
// whatever makes a poller runnable wakes the reactor for another.
func (p *Poller) enter() bool {
	return p.state.CompareAndSwap(pollerArmed, pollerArmed|pollerRunning)
}

func (p *Poller) leave() {
	if p.state.And(^pollerRunning)&pollerDead != 0 {
		close(p.quiesced)
	}
}

// kill makes the poller of a stopped reactor unregistered.
func (p *Poller) kill() { p.state.Or(pollerDead) }
