package nvmebdev

import (
	"errors"
	"time"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme"
)

// Sleeps of a poller without an interrupt grow from the first to the last: what is waited for is late already.
const (
	firstNap = 10 * time.Microsecond
	lastNap  = time.Millisecond
)

// wakeAfter is after how many polls in vain, a power of two, a controller that may sleep itself is woken: some 100 µs.
const wakeAfter = 4096

// waiter is how the poller of a queue sleeps.
type waiter struct {
	event  eventfd // signalled by the queue's interrupt, if it has one
	spins  bool    // most completions are polled for: interrupts are let through only while it sleeps
	passes bool    // they are let through
	nap    time.Duration
	misses uint // polls in vain
}

// openQueue opens a queue pair, with an interrupt where that pays and there is a vector left for it.
func (b *Backend) openQueue() (*nvme.Queue, waiter, error) {
	w := waiter{event: noEvent, nap: firstNap, passes: true, spins: b.policy == bdev.PolicyAdaptive}
	if b.wantsInterrupt() && b.o.t.Vectors() > 1 { // vector 0 is the admin queue's
		event, err := newEventFD()
		if err != nil {
			return nil, w, err
		}
		q, err := b.o.ctrl.OpenQueue(nvme.QueueOptions{EventFD: event.fd()})
		if err == nil {
			w.event = event
			w.pass(q, !w.spins)
			return q, w, nil
		}
		if err = errors.Join(err, event.close()); !errors.Is(err, nvme.ErrUnsupported) {
			return nil, w, err
		}
	}
	q, err := b.o.ctrl.OpenQueue(nvme.QueueOptions{})
	return q, w, err
}

// wantsInterrupt tells whether queues are to interrupt who sleeps.
func (b *Backend) wantsInterrupt() bool {
	switch b.policy {
	case bdev.PolicySleep:
		return b.o.kind != kindInline
	case bdev.PolicyAdaptive:
		return b.o.kind == kindPCI
	}
	return false
}

// found is told that the last poll found something.
func (w *waiter) found(q *nvme.Queue) {
	w.nap, w.misses = firstNap, 0
	if w.spins {
		w.pass(q, false)
	}
}

// pass lets interrupts through, or holds them back.
func (w *waiter) pass(q *nvme.Queue, through bool) {
	if w.event.is() && w.passes != through {
		q.Mask(!through)
	}
	w.passes = through
}

// missed is told that it found nothing. Who never sleeps wakes the controller here, ever more rarely.
func (w *waiter) missed(q *nvme.Queue) {
	if w.misses++; w.misses >= wakeAfter && w.misses&(w.misses-1) == 0 {
		q.Wake()
	}
}

// sleep returns when the queue may have something, or the time is over. A controller that may sleep itself is woken before
// the first time.
func (w *waiter) sleep(q *nvme.Queue, timeout time.Duration) {
	if w.nap == firstNap {
		q.Wake()
	}
	if w.event.is() {
		w.nap = lastNap
		w.pass(q, true)
		w.event.wait(timeout)
		return
	}
	time.Sleep(min(w.nap, timeout))
	w.nap = min(2*w.nap, lastNap)
}

func (w *waiter) close() error { return w.event.close() }
