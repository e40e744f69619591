package kv

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// gateStripes spreads the count of running calls over cache lines. A power of two.
const gateStripes = 16

// gate lets calls in until it is closed, and lets Close wait for those inside. A call costs two uncontended atomic
// adds: the engine below must not be entered once it is closed, and a lock that all readers share would not scale.
type gate struct {
	closed  atomic.Bool
	stripes [gateStripes]struct {
		inside atomic.Int64
		_      [56]byte // a cache line each
	}
}

// enter returns the stripe for leave, and whether the gate is open.
func (g *gate) enter() (stripe uint32, ok bool) {
	stripe = rand.Uint32() % gateStripes
	// Count first, then look: close looks at the counts after it has closed, so one of the two sees the other.
	g.stripes[stripe].inside.Add(1)
	if g.closed.Load() {
		g.leave(stripe)
		return 0, false
	}
	return stripe, true
}

func (g *gate) leave(stripe uint32) { g.stripes[stripe].inside.Add(-1) }

// close shuts the gate and waits until nobody is inside. False if it was shut already.
func (g *gate) close() bool {
	if g.closed.Swap(true) {
		return false
	}
	for pause := 10 * time.Microsecond; !g.empty(); pause = min(2*pause, 5*time.Millisecond) {
		time.Sleep(pause)
	}
	return true
}

// open undoes close.
func (g *gate) open() { g.closed.Store(false) }

// empty reports that no call is inside. Only meaningful while the gate is closed: a call then moves from stripe to
// nowhere, never to another stripe.
func (g *gate) empty() bool {
	for i := range g.stripes {
		if g.stripes[i].inside.Load() != 0 {
			return false
		}
	}
	return true
}
