package reactor

import (
	"sync/atomic"
	"time"
)

// publishEvery is the number of passes after which a reactor that does not sleep makes its counters visible.
const publishEvery = 256

// Stats are the counters of a reactor. Those of a running reactor lag by a few hundred passes at most.
type Stats struct {
	Name     string
	Passes   uint64        // passes of the loop
	Messages uint64        // messages run
	Busy     time.Duration // in passes that found work
	Idle     time.Duration // in passes that found none
	Asleep   time.Duration // blocked, using no CPU
	Pollers  []PollerStats // in order of registration
}

// PollerStats are the counters of one poller.
type PollerStats struct {
	Name   string
	Runs   uint64        // calls
	Busy   uint64        // calls that found work
	Period time.Duration // 0 for a busy poller
	Armed  bool
}

// counters belong to the reactor's goroutine.
type counters struct {
	passes, messages   uint64
	busy, idle, asleep time.Duration
}

// publishedCounters are the copies that Stats reads.
type publishedCounters struct {
	passes, messages   atomic.Uint64
	busy, idle, asleep atomic.Int64
}

// Stats returns the counters.
func (r *Reactor) Stats() Stats {
	s := Stats{
		Name:     r.name,
		Passes:   r.published.passes.Load(),
		Messages: r.published.messages.Load(),
		Busy:     time.Duration(r.published.busy.Load()),
		Idle:     time.Duration(r.published.idle.Load()),
		Asleep:   time.Duration(r.published.asleep.Load()),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.mu.pollers {
		s.Pollers = append(s.Pollers, p.stats())
	}
	return s
}

func (p *Poller) stats() PollerStats {
	return PollerStats{
		Name:   p.name,
		Runs:   p.published.runs.Load(),
		Busy:   p.published.busyRuns.Load(),
		Period: p.period,
		Armed:  p.Armed(),
	}
}

// publish makes the counters visible to Stats.
func (r *Reactor) publish() {
	r.published.passes.Store(r.count.passes)
	r.published.messages.Store(r.count.messages)
	r.published.busy.Store(int64(r.count.busy))
	r.published.idle.Store(int64(r.count.idle))
	r.published.asleep.Store(int64(r.count.asleep))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.mu.pollers {
		p.publish()
	}
}

func (p *Poller) publish() {
	p.published.runs.Store(p.runs)
	p.published.busyRuns.Store(p.busyRuns)
}

// account books the time since the last call as busy or idle and returns the present time.
func (r *Reactor) account(busy bool) time.Duration {
	now := r.clock.Now()
	if busy {
		r.count.busy += now - r.booked
		r.lastBusy = now
		r.naps = 0
	} else {
		r.count.idle += now - r.booked
	}
	r.booked = now
	return now
}

// accountSleep books the time since the last call as asleep.
func (r *Reactor) accountSleep() {
	now := r.clock.Now()
	r.count.asleep += now - r.booked
	r.booked = now
}
