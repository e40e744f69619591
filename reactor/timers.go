package reactor

import (
	"container/heap"
	"math"
	"time"
)

// timerHeap orders timed pollers by deadline. It implements heap.Interface.
type timerHeap []*Poller

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].deadline < h[j].deadline }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(p any)        { *h = append(*h, p.(*Poller)) }

func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// runTimers calls each timed poller that is due once.
func (r *Reactor) runTimers(now time.Duration) (busy bool) {
	for len(r.timers) > 0 && r.timers[0].deadline <= now {
		p := r.timers[0]
		ran, b := p.run()
		busy = busy || b
		if !ran {
			// Disarmed or unregistered; Arm brings it back through rebuild.
			heap.Pop(&r.timers)
			continue
		}
		p.deadline = deadlineAfter(now, p.period)
		heap.Fix(&r.timers, 0)
	}
	return busy
}

// untilTimer returns the time to the next timer, never negative, and false when there is none.
func (r *Reactor) untilTimer(now time.Duration) (time.Duration, bool) {
	if len(r.timers) == 0 {
		return 0, false
	}
	return max(r.timers[0].deadline-now, 0), true
}

// deadlineAfter is now+period without overflow.
func deadlineAfter(now, period time.Duration) time.Duration {
	if period > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + period
}
