package bdev

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// Tuning of the pollers.
const (
	spinLimit    = 250 * time.Microsecond // longer waits than this are rarely worth spinning for
	spinMin      = 4 * time.Microsecond   // the least an adaptive poller spins
	probeTime    = time.Millisecond       // and the most, also to learn what the device takes
	spinsPerLook = 16                     // polls between two looks at the clock
	turnTime     = time.Millisecond       // between two yields of a poller that has readied nobody
	sleepSlice   = 10 * time.Millisecond  // one Queue.Wait
	mixedSlice   = 50 * time.Microsecond  // one Queue.Wait of a Channel that waits for workers too
	restEvery    = 2                      // of so many waits for a read an adaptive poller sleeps in one
	seldom       = 16                     // and of so many where sleeping takes much longer, or of slow ones spins in one
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

	of    [numOps]waits // by operation: flushes take longer than writes
	this  *waits        // of this wait's operation, nil unless the policy is adaptive
	tried bool          // this wait is meant to be spun for
	slept bool          // it has slept
	began time.Duration // by the monotonic clock

	now   func() time.Duration // the monotonic clock
	yield func()               // to other goroutines
}

func newPacer(q sleeper, policy Policy) pacer {
	return pacer{q: q, policy: policy, now: monotonic, yield: runtime.Gosched}
}

// waits are what an adaptive poller knows of those for one operation.
type waits struct {
	n      int
	spun   time.Duration // what requests take on average that are spun for
	asleep time.Duration // and those that are slept for, which end late
}

// start begins a wait for requests of which the newest is an op.
//
// Spinning burns as much processor time as the device takes, sleeping half of that, and a sleep ends some 15 µs late: of
// the waits for reads every second one sleeps, which keeps their cost within one and a half of a kernel read's and their
// mean latency below it. On a busy machine the processor is somebody else's when a sleep ends, and reads would take their
// turns with whatever computes: sleeping gets seldom there, often enough to see when that is over.
//
// A write is waited for by somebody who then waits for a flush, and a late one makes the next seem slow, so all
// of these spin.
//
// A device that takes longer is slept for, unless sleeping makes it much slower, as under emulated processors. One wait of
// some does the other thing, to see how that is now: a wait that slept does not tell what the device took.
func (p *pacer) start(op Op) {
	p.idle, p.single, p.this = 0, runtime.GOMAXPROCS(0) == 1, nil
	if p.policy != PolicyAdaptive {
		return
	}
	w := &p.of[min(op, numOps-1)] // one that is unknown is refused, but waited for
	w.n++
	p.this, p.slept, p.began = w, false, p.now()
	p.budget, p.tried = w.budget(op == OpRead)
}

// budget is how long to spin, and whether that is meant to be enough.
func (w *waits) budget(read bool) (spin time.Duration, enough bool) {
	spin = max(w.spun+w.spun/4, spinMin)
	switch {
	case w.spun == 0:
		return probeTime, true
	case spin > spinLimit:
		if w.other(seldom) != w.dear() {
			return probeTime, true
		}
		return spinMin, false
	case read && w.other(w.restEvery()):
		return 0, false
	}
	return spin, true
}

// other tells whether this is one wait of so many that does what the others do not, to see how that is.
func (w *waits) other(of int) bool { return w.n%of == 0 }

// dear tells whether sleeping takes half as long again as a wait that is not too long to spin for.
func (w *waits) dear() bool { return w.spun <= probeTime && w.asleep > w.spun+w.spun/2 }

func (w *waits) restEvery() int {
	if w.asleep > muchLonger*w.spun {
		return seldom
	}
	return restEvery
}

// waited is how long this wait has taken so far, where that matters.
func (p *pacer) waited() time.Duration {
	if p.this == nil {
		return 0
	}
	return p.now() - p.began
}

// end learns from a wait that is over. latency is what the requests took that it ended with.
func (p *pacer) end(latency time.Duration) {
	switch {
	case p.this == nil:
	case p.slept && !p.tried:
		p.this.asleep = movingMean(p.this.asleep, latency)
	default:
		p.this.spun = movingMean(p.this.spun, latency)
	}
}

// movingMean is the mean with one more value, of which the last few count most. One value out of the ordinary changes
// it little.
func movingMean(mean, value time.Duration) time.Duration {
	if mean == 0 {
		return value
	}
	return mean + (min(value, 4*mean)-mean)/8
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
		p.idle, p.slept = 0, true
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
