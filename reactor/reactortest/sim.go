// Package reactortest runs reactors without threads and without real time: a Sim steps them one pass at a time in an
// order drawn from a seed, and its clock moves only when a test says so. The same seed gives the same run.
package reactortest

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blobkv/blobkv/reactor"
)

// maxPasses bounds Settle: a poller that reports work for ever is an error of the test.
const maxPasses = 1 << 20

// Clock is a clock that stands still until it is advanced. It implements reactor.Clock.
type Clock struct{ now atomic.Int64 }

// Now is the sum of all advances.
func (c *Clock) Now() time.Duration { return time.Duration(c.now.Load()) }

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) { c.now.Add(int64(d)) }

// Sim is a set of stepped reactors under one virtual clock. One goroutine at a time may use it.
type Sim struct {
	Clock Clock

	tb       testing.TB
	rng      *rand.Rand
	reactors []*reactor.Reactor
}

// New returns a Sim with a random seed, which it logs.
func New(tb testing.TB) *Sim { return NewSeeded(tb, rand.Uint64()) }

// NewSeeded returns a Sim that repeats the run of that seed.
func NewSeeded(tb testing.TB, seed uint64) *Sim {
	tb.Helper()
	tb.Logf("reactortest: seed %d", seed)
	return &Sim{tb: tb, rng: rand.New(rand.NewPCG(seed, 0))}
}

// Reactor adds a stepped reactor, stopped when the test ends.
func (s *Sim) Reactor(name string) *reactor.Reactor {
	r := reactor.NewStepped(name, &s.Clock)
	s.reactors = append(s.reactors, r)
	s.tb.Cleanup(r.Stop)
	return r
}

// Settle makes passes until every reactor in a row has found nothing to do at the present time.
func (s *Sim) Settle() {
	s.tb.Helper()
	for passes := 0; passes < maxPasses; {
		busy := false
		for _, i := range s.rng.Perm(len(s.reactors)) {
			busy = s.reactors[i].Step() || busy
			passes++
		}
		if !busy {
			return
		}
	}
	s.tb.Fatalf("reactortest: still work to do after %d passes", maxPasses)
}

// Advance lets time pass, stopping at every timer on the way and settling there.
func (s *Sim) Advance(d time.Duration) {
	s.tb.Helper()
	end := s.Clock.Now() + d
	for {
		s.Settle()
		left := end - s.Clock.Now()
		if left <= 0 {
			return
		}
		s.Clock.Advance(s.nextTimer(left))
	}
}

// nextTimer is the time to the earliest timer of all reactors, at most limit.
func (s *Sim) nextTimer(limit time.Duration) time.Duration {
	for _, r := range s.reactors {
		if d, ok := r.UntilTimer(); ok {
			limit = min(limit, d)
		}
	}
	return limit
}
