package bdev

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// Tuning of the pollers.
const (
	spinLimit    = 250 * time.Microsecond // longer waits than this are not worth spinning for
	spinMin      = 4 * time.Microsecond   // the least an adaptive poller spins
	spinsPerLook = 16                     // polls between two looks at the clock
	turnTime     = time.Millisecond       // between two yields of a poller that has readied nobody
	sleepSlice   = 10 * time.Millisecond  // one Queue.Wait
	mixedSlice   = 50 * time.Microsecond  // one Queue.Wait of a Channel that waits for workers too
	restEvery    = 2                      // of so many waits for a read an adaptive poller sleeps in one
	restSeldom   = 16                     // and of so many where sleeping takes much longer
	muchLonger   = 2                      // times the wait of one that spins
)

var policyNames = [...]string{PolicyAdaptive: "adaptive", PolicyPoll: "poll", PolicySleep: "sleep"}

// String is the policy as device names and flags spell it.
func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return "unknown policy"
}

// ParsePolicy reads a policy as String prints it.
func ParsePolicy(s string) (Policy, error) {
	for i, name := range policyNames {
		if s == name {
			return Policy(i), nil
		}
	}
	return 0, fmt.Errorf("policy %q, known are %s: %w", s, strings.Join(policyNames[:], ", "), ErrInvalid)
}

// sleeper is the part of a Queue that may block.
type sleeper interface {
	Wait(timeout time.Duration)
}

// pacer decides what a poller does between polls. It belongs to the poller of its queue.
type pacer struct {
	q      sleeper
	policy Policy
	single bool          // one processor: whoever completes requests needs it too
	budget time.Duration // how long an adaptive poller spins after the last completion
	idle   int           // polls since then that found nothing
	since  time.Duration // when spinning began, by the monotonic clock
	turn   time.Duration // when it yielded last, over all waits

	reads  int           // waits for reads so far
	timed  bool          // this is one of them
	rest   bool          // one that sleeps at once
	began  time.Duration // when, by the monotonic clock
	awake  time.Duration // what waits for reads that spin took on average
	asleep time.Duration // and those that sleep

	now   func() time.Duration // the monotonic clock
	yield func()               // to other goroutines
}

func newPacer(q sleeper, policy Policy) pacer {
	return pacer{q: q, policy: policy, now: monotonic, yield: runtime.Gosched}
}

// start begins a wait. latency is what requests took on average, op what is waited for.
//
// Spinning burns as much processor time as the device takes, sleeping half of that, and a sleep ends some 15 µs late: of
// the waits for reads every second one sleeps, which keeps their cost within one and a half of a kernel read's and their
// mean latency below it. On a busy machine the processor is somebody else's when a sleep ends, and reads would take their
// turns with whatever computes: sleeping gets seldom there, often enough to see when that is over.
//
// A write is waited for by somebody who then waits for a flush, and a late one makes the next seem slow, so all
// of these spin.
func (p *pacer) start(latency time.Duration, op Op) {
	p.budget, p.idle, p.single = spinBudget(latency), 0, runtime.GOMAXPROCS(0) == 1
	if p.timed = op == OpRead && p.policy == PolicyAdaptive; !p.timed {
		return
	}
	every := restEvery
	if p.asleep > muchLonger*p.awake {
		every = restSeldom
	}
	p.reads++
	if p.rest = p.reads%every == 0; p.rest {
		p.budget = 0
	}
	p.began = p.now()
}

// end learns from a wait that is over.
func (p *pacer) end() {
	if !p.timed {
		return
	}
	took := &p.awake
	if p.rest {
		took = &p.asleep
	}
	*took = movingMean(*took, p.now()-p.began)
}

// movingMean is the mean with one more value, of which the last few count most. One value out of the ordinary changes
// it little.
func movingMean(mean, value time.Duration) time.Duration {
	if mean == 0 {
		return value
	}
	return mean + (min(value, 4*mean)-mean)/8
}

// spinBudget is how long to spin for a device whose requests took latency on average: a bit longer than that, where
// the device is fast enough for a sleep and its wake-up to cost more than the wait.
func spinBudget(latency time.Duration) time.Duration {
	budget := latency + latency/4
	if budget > spinLimit {
		return spinMin
	}
	return max(budget, spinMin)
}

// polled is told what the last poll found, and waits as the policy says before the next.
func (p *pacer) polled(n int) {
	if n > 0 {
		p.idle = 0
		return
	}
	p.idle++
	switch {
	case p.single:
		p.yield()
	case p.policy == PolicyPoll && p.idle%spinsPerLook == 0:
		p.yieldInTurn()
	}
	if p.policy == PolicySleep || p.policy == PolicyAdaptive && p.spent() {
		p.yieldInTurn()
		p.q.Wait(sleepSlice)
		p.idle = 0
	}
}

// yieldInTurn yields when that is due. A yield is dear, as it wakes up an idle thread that finds nothing to do. But from
// a goroutine that has not yielded for 10 ms the scheduler takes the processor away as soon as it sleeps in the kernel,
// and then looks for more such goroutines every few microseconds.
func (p *pacer) yieldInTurn() {
	if now := p.now(); now-p.turn > turnTime {
		p.turn = now
		p.yield()
	}
}

// spent tells whether the time to spin is over.
func (p *pacer) spent() bool {
	if p.idle == 1 {
		p.since = p.now()
	}
	return p.idle%spinsPerLook == 0 && p.now()-p.since > p.budget
}
