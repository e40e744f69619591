package reactor

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Mode says what a reactor does when a pass found nothing to do.
type Mode uint8

// The modes.
const (
	Adaptive Mode = iota // poll on for Options.Spin, then sleep
	Poll                 // never sleep: lowest latency, one CPU
	Sleep                // sleep at once: least CPU
)

// DefaultSpin is how long an adaptive reactor polls on after work. It is about what waking a sleeping thread costs.
const DefaultSpin = 20 * time.Microsecond

// Options of Start. The zero value is a good choice.
type Options struct {
	Name string
	Mode Mode
	CPUs []int         // CPUs the thread may run on; empty for any
	Spin time.Duration // in adaptive mode; 0 for DefaultSpin
}

// Reactor is one event loop. See the package documentation for who may call what.
type Reactor struct {
	name  string
	mode  Mode
	spin  time.Duration
	clock Clock

	mail     mailbox
	changed  atomic.Bool   // the set of runnable pollers may differ from busy and timers
	parked   atomic.Bool   // the loop sleeps or is about to, and needs a token in wakeup
	wakeup   chan struct{} // capacity 1
	stopping atomic.Bool
	done     chan struct{} // closed when the loop has ended
	owner    atomic.Uint64 // goroutine that runs callbacks; 0 for none
	stepped  bool          // no loop: Step and Stop run the callbacks

	mu struct {
		sync.Mutex
		pollers []*Poller // all registered ones, in order of registration
		stopped bool      // registrations are refused
	}

	// Reactor goroutine only.
	busy     []*Poller // busy pollers, armed or not
	timers   timerHeap // armed timed pollers
	napTimer *time.Timer
	booked   time.Duration // until when time has been accounted for
	lastBusy time.Duration
	naps     int // sleeps in a row between polls of armed pollers
	count    counters

	published publishedCounters
}

// Start starts a reactor on a thread of its own. It fails only if the thread cannot be pinned to Options.CPUs.
func Start(o Options) (*Reactor, error) {
	r := newReactor(o, newSystemClock())
	started := make(chan error)
	go r.main(o.CPUs, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return r, nil
}

// NewStepped returns a reactor without a thread: its callbacks run inside Step and Stop, on their caller's
// goroutine. It is meant for tests, with a clock under their control.
func NewStepped(name string, clock Clock) *Reactor {
	r := newReactor(Options{Name: name}, clock)
	r.stepped = true
	close(r.done)
	return r
}

func newReactor(o Options, clock Clock) *Reactor {
	r := &Reactor{
		name: o.Name, mode: o.Mode, spin: o.Spin, clock: clock,
		wakeup: make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	if r.spin <= 0 {
		r.spin = DefaultSpin
	}
	r.booked = clock.Now()
	return r
}

// main is the body of the reactor's goroutine.
func (r *Reactor) main(cpus []int, started chan<- error) {
	runtime.LockOSThread()
	if len(cpus) == 0 {
		defer runtime.UnlockOSThread()
	} else if err := pinThread(cpus); err != nil {
		started <- err
		return
	}
	// A pinned thread ends locked, and with it the thread: nothing else may inherit its CPU mask.
	defer close(r.done)
	r.own()
	defer r.disown()
	started <- nil
	r.loop()
}

// Name is the name given in Options.
func (r *Reactor) Name() string { return r.name }

// Send runs fn on the reactor, in the order in which messages were sent. It returns false, and fn never runs, once
// the reactor has been stopped. It never blocks.
func (r *Reactor) Send(fn func()) bool {
	if !r.mail.put(fn) {
		return false
	}
	r.wake()
	return true
}

// Register adds a busy poller, armed.
func (r *Reactor) Register(name string, poll Func) *Poller {
	return r.RegisterWith(PollerOptions{Name: name, Poll: poll})
}

// RegisterTimed adds a timed poller, armed.
func (r *Reactor) RegisterTimed(name string, period time.Duration, poll Func) *Poller {
	return r.RegisterWith(PollerOptions{Name: name, Poll: poll, Period: period})
}

// RegisterWith adds a poller. On a stopped reactor the poller is unregistered from the start.
func (r *Reactor) RegisterWith(o PollerOptions) *Poller {
	p := newPoller(r, o)
	r.mu.Lock()
	if r.mu.stopped {
		p.kill()
	} else {
		r.mu.pollers = append(r.mu.pollers, p)
	}
	r.mu.Unlock()
	r.noteChange()
	return p
}

// forget removes an unregistered poller.
func (r *Reactor) forget(p *Poller) {
	r.mu.Lock()
	if i := slices.Index(r.mu.pollers, p); i >= 0 {
		r.mu.pollers = slices.Delete(r.mu.pollers, i, i+1)
	}
	r.mu.Unlock()
	// The reactor still holds a reference; it need not wake up to drop it.
	r.changed.Store(true)
}

// Stop runs the messages already accepted, unregisters all pollers, ends the loop and waits for that; from inside a
// callback it does not wait. Calling it again is harmless.
func (r *Reactor) Stop() {
	r.mail.close()
	r.mu.Lock()
	r.mu.stopped = true
	r.mu.Unlock()
	r.stopping.Store(true)
	r.wake()
	if r.OnReactor() {
		return
	}
	<-r.done
	if r.stepped {
		r.own()
		defer r.disown()
		r.drain()
	}
}

// Step makes one pass of a stepped reactor and reports whether it found work. One goroutine at a time may call it.
func (r *Reactor) Step() (busy bool) {
	r.own()
	defer r.disown()
	busy = r.pass()
	r.account(busy)
	r.publish()
	return busy
}

// UntilTimer returns how long it is until the next timed poller of a stepped reactor is due, and false when there is
// none.
func (r *Reactor) UntilTimer() (time.Duration, bool) {
	now := r.clock.Now()
	r.rebuild(now)
	return r.untilTimer(now)
}
