package bdev

import (
	"sync"
	"time"
)

// Filter decides about the requests that a Relay passes on. Its methods are called from any number of goroutines.
type Filter interface {
	// Begin is called when a request is submitted. lower is what the backend below will get, a copy of the request
	// with the same buffers: Begin may change its fields, but not the memory of a write, which is the caller's.
	Begin(lower *Request) Verdict
	// End is called before the request completes, with the result so far, and returns the result. It may change the
	// memory of a read.
	End(r *Request, v Verdict, err error) error
}

// Verdict is what a Filter wants done with a request. The zero value passes it on.
type Verdict struct {
	Answered bool          // the backend below is not asked
	Err      error         // the result of an answered request
	Delay    time.Duration // the request completes no sooner than this after its submission
	Tag      any           // for Filter.End
}

// Relay is a backend on top of another one, which it owns: the base of modules that delay, count, fail or change
// requests.
type Relay struct {
	lower  Backend
	filter Filter
}

// NewRelay puts a filter in front of a backend.
func NewRelay(lower Backend, f Filter) *Relay { return &Relay{lower, f} }

// Properties are those of the backend below.
func (b *Relay) Properties() Properties { return b.lower.Properties() }

// NewQueue implements Backend.
func (b *Relay) NewQueue() (Queue, error) {
	q, err := b.lower.NewQueue()
	if err != nil {
		return nil, err
	}
	return &relayQueue{lower: q, filter: b.filter}, nil
}

// Execute implements Backend.
func (b *Relay) Execute(r *Request) error {
	item := newRelayed(r, b.filter)
	err := item.verdict.Err
	if item.lower != nil {
		err = b.lower.Execute(item.lower)
		PutRequest(item.lower)
	}
	time.Sleep(item.due - monotonic())
	return b.filter.End(r, item.verdict, err)
}

// Resize implements Backend.
func (b *Relay) Resize(size int64) error { return b.lower.Resize(size) }

// Close closes the backend below.
func (b *Relay) Close() error { return b.lower.Close() }

// relayed is a request on its way through a relay.
type relayed struct {
	upper   *Request
	lower   *Request // nil when the filter has answered
	verdict Verdict
	due     time.Duration // by the monotonic clock; 0 for at once
}

func newRelayed(r *Request, f Filter) relayed {
	lower := GetRequest()
	lower.Op, lower.FUA, lower.Offset, lower.Length, lower.Source = r.Op, r.FUA, r.Offset, r.Length, r.Source
	lower.Buf, lower.Expect, lower.Target = r.Buf, r.Expect, r.Target
	lower.state.Store(stateInFlight)
	item := relayed{upper: r, lower: lower, verdict: f.Begin(lower)}
	if item.verdict.Delay > 0 {
		item.due = monotonic() + item.verdict.Delay
	}
	if item.verdict.Answered {
		PutRequest(lower)
		item.lower = nil
	}
	return item
}

// answered tells whether the result is there, due or not.
func (i *relayed) answered() bool { return i.lower == nil || i.lower.Done() }

// complete hands the result up.
func (i *relayed) complete(f Filter) {
	err := i.verdict.Err
	if i.lower != nil {
		err = i.lower.Err()
		PutRequest(i.lower)
	}
	i.upper.Complete(f.End(i.upper, i.verdict, err))
}

// relaySlice bounds Wait: an answered request that is submitted meanwhile does not end the wait of the queue below.
const relaySlice = time.Millisecond

// relayQueue is a queue of a Relay.
type relayQueue struct {
	lower  Queue
	filter Filter

	mu struct {
		sync.Mutex
		items []relayed // outstanding
		held  *Request  // the lower request of the last item, when the queue below had no room for it
	}

	taken []relayed // poller only
}

func (q *relayQueue) Submit(rs []*Request) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, r := range rs {
		if !q.passHeld() {
			return i
		}
		item := newRelayed(r, q.filter)
		q.mu.items = append(q.mu.items, item)
		q.mu.held = item.lower
	}
	q.passHeld()
	return len(rs)
}

// passHeld passes on the request that is waiting for room and tells whether none is left. The filter has seen it, so
// it cannot be refused and seen again.
func (q *relayQueue) passHeld() bool {
	r := q.mu.held
	if r == nil {
		return true
	}
	q.mu.held = nil // before it completes
	r.self[0] = r
	if q.lower.Submit(r.self[:]) == 0 {
		q.mu.held = r
		return false
	}
	return true
}

func (q *relayQueue) Poll(limit int) int {
	q.lower.Poll(limit)
	q.take(limit)
	for i := range q.taken {
		q.taken[i].complete(q.filter)
		q.taken[i] = relayed{}
	}
	return len(q.taken)
}

// take moves the finished items to taken.
func (q *relayQueue) take(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.passHeld()
	q.taken = q.taken[:0]
	if len(q.mu.items) == 0 {
		return
	}
	now := monotonic()
	kept := q.mu.items[:0]
	for _, i := range q.mu.items {
		if len(q.taken) < limit && i.answered() && i.due <= now {
			q.taken = append(q.taken, i)
		} else {
			kept = append(kept, i)
		}
	}
	clear(q.mu.items[len(kept):])
	q.mu.items = kept
}

func (q *relayQueue) Wait(timeout time.Duration) {
	timeout, asked := q.untilDue(min(timeout, relaySlice))
	switch {
	case timeout <= 0:
	case asked:
		q.lower.Wait(timeout)
	default:
		time.Sleep(timeout)
	}
}

// untilDue returns how long it is until a known result is due, at most limit, and whether others are unknown.
func (q *relayQueue) untilDue(limit time.Duration) (_ time.Duration, asked bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := monotonic()
	for i := range q.mu.items {
		if item := &q.mu.items[i]; item.answered() {
			limit = min(limit, item.due-now)
		} else {
			asked = true
		}
	}
	return limit, asked
}

func (q *relayQueue) Close() error { return q.lower.Close() }
