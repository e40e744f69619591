package bdev

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Device is an open block device: a backend behind the core's validation, splitting, bouncing, emulation, statistics
// and queue sharing. All methods may be called from any goroutine.
type Device struct {
	name   string
	b      Backend
	props  Properties // BlockCount as opened; size is the present truth
	policy Policy
	fresh  bool

	size     atomic.Int64 // bytes
	queueOps OpSet        // operations that go through a queue
	flushes  bool         // a flush has something to do
	fua      bool         // a queued write with FUA is durable without a flush by the core

	shared     []*shared
	attended   []*shared // of shared, those of requests with a waiter
	unattended *shared   // and the one of requests without
	gate       gate
	flush      flusher
	ranges     rangeLocks
	workers    workers
	resets     atomic.Int64 // resets under way

	background background

	mu struct {
		sync.Mutex
		channels map[*Channel]struct{}
		retired  Stats // of closed channels
		closed   bool
	}
}

// Options of New. The zero value is a good choice.
type Options struct {
	Policy   Policy
	Channels int  // shared channels, the last of several for requests without a waiter; 0: chosen from the number of processors
	Fresh    bool // the opener has just created the backing store; see Device.Fresh
}

// maxShared bounds Options.Channels.
const maxShared = 64

// New puts the core in front of a backend. The device owns the backend from then on, also when New fails: it is
// closed then. The name is what errors and tools print.
func New(name string, b Backend, o Options) (*Device, error) {
	d, err := newDevice(name, b, o)
	if err != nil {
		_ = b.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

func newDevice(name string, b Backend, o Options) (*Device, error) {
	p := b.Properties().withDefaults()
	if err := p.validate(); err != nil {
		return nil, err
	}
	if o.Channels < 0 || o.Channels > maxShared || o.Policy > PolicySleep {
		return nil, fmt.Errorf("%d channels, policy %d: %w", o.Channels, o.Policy, ErrInvalid)
	}
	p.Native |= Ops(OpRead, OpWrite)
	d := &Device{name: name, b: b, props: p, policy: o.Policy, fresh: o.Fresh,
		queueOps: p.Native &^ p.Sync &^ Ops(OpFlush, OpCompareAndWrite, OpReset),
		flushes:  p.WriteCache,
		fua:      p.FUA || !p.WriteCache,
	}
	d.size.Store(p.BlockCount * int64(p.BlockSize))
	d.gate.init()
	d.ranges.init()
	d.mu.channels = make(map[*Channel]struct{})
	return d, d.openShared(o.Channels)
}

// openShared opens the shared channels. Requests without a waiter, such as read-ahead, have one of their own: a leader
// completes what it finds on its channel, and whoever waits for one read would else pay for those of everybody.
func (d *Device) openShared(n int) error {
	if n == 0 {
		n = d.defaultChannels()
	}
	for range n {
		q, err := d.b.NewQueue()
		if err != nil {
			d.closeShared()
			return fmt.Errorf("opening a queue: %w", err)
		}
		d.shared = append(d.shared, newShared(d, q))
	}
	d.attended, d.unattended = d.shared[:max(1, n-1)], d.shared[n-1]
	addChannels(d.shared)
	return nil
}

// defaultChannels leaves half of a device's queues to private channels.
func (d *Device) defaultChannels() int {
	n := 1 + max(1, min(4, runtime.GOMAXPROCS(0)/4))
	if most := d.props.MaxQueues; most > 0 {
		n = min(n, max(1, most/2))
	}
	return n
}

// Name is the name the device was opened by.
func (d *Device) Name() string { return d.name }

// Properties is what the device declares, with the present size.
func (d *Device) Properties() Properties {
	p := d.props
	p.BlockCount = d.Size() / int64(p.BlockSize)
	return p
}

// Size is the present size in bytes.
func (d *Device) Size() int64 { return d.size.Load() }

// BlockSize is the unit of offsets and lengths, in bytes.
func (d *Device) BlockSize() int { return d.props.BlockSize }

// Policy is how pollers of this device wait.
func (d *Device) Policy() Policy { return d.policy }

// Fresh tells whether opening the device created what is behind it: a new image file, or memory. A fresh device holds
// nothing that formatting could destroy.
func (d *Device) Fresh() bool { return d.fresh }

// Read fills p from off. Offset and length are multiples of the block size.
func (d *Device) Read(p []byte, off int64) error { return d.do(OpRead, p, off, 0) }

// Write stores p at off. It is durable after the next flush.
func (d *Device) Write(p []byte, off int64) error { return d.do(OpWrite, p, off, 0) }

// Flush makes every write that completed before the call durable. Concurrent calls share flushes.
func (d *Device) Flush() error { return d.do(OpFlush, nil, 0, 0) }

// Unmap tells the device that the range is not needed; it then reads as Properties.Unmapped says.
func (d *Device) Unmap(off, n int64) error { return d.do(OpUnmap, nil, off, n) }

// WriteZeroes makes the range read as zeros.
func (d *Device) WriteZeroes(off, n int64) error { return d.do(OpWriteZeroes, nil, off, n) }

// Allocate reserves host space for the range and leaves its contents alone. It does nothing where that has no meaning.
func (d *Device) Allocate(off, n int64) error { return d.do(OpAllocate, nil, off, n) }

func (d *Device) do(op Op, p []byte, off, n int64) error {
	r := GetRequest()
	r.Op, r.Buf, r.Offset, r.Length = op, p, off, n
	err := d.Do(r)
	PutRequest(r)
	return err
}

// Do carries out a request on the caller's goroutine: Submit and Wait.
func (d *Device) Do(r *Request) error {
	switch {
	case !d.begin(r, d.home(r)):
	case d.isQueued(r):
		r.ch.send(r)
		r.ch.wait(r)
	default:
		d.completed(r, d.execute(r))
	}
	return r.err
}

// Submit starts a request. It is always accepted, and its result is Wait's (or Err's, once Done). It makes progress
// without a waiter, unless it is Attended. When the queue is full, Submit waits for room in it.
func (d *Device) Submit(r *Request) {
	ch := d.unattended
	if r.Attended {
		ch = d.home(r)
	}
	if !d.begin(r, ch) {
		return
	}
	if d.isQueued(r) {
		if r.Attended {
			ch.send(r)
			return
		}
		r.async = true
		ch.async.Add(1)
		ch.send(r)
		ch.arm()
		return
	}
	d.workers.submit(d, r)
}

// Wait returns the result of a submitted request once it is done. Exactly one goroutine waits for a request.
func (d *Device) Wait(r *Request) error {
	if r.state.Load() == stateIdle {
		return fmt.Errorf("%s: waiting for a request that was not submitted: %w", d.name, ErrInvalid)
	}
	if !r.Done() && r.polled {
		r.ch.wait(r)
	}
	for !r.Done() {
		r.park()
	}
	return r.err
}

// begin admits a request to a channel: it counts as in flight from here to completed. A request that is refused, or has
// nothing to do, is completed at once.
func (d *Device) begin(r *Request, ch *shared) bool {
	r.dev, r.own, r.parent, r.err = d, nil, nil, nil
	r.polled, r.async, r.internal = false, false, false
	r.ch = ch
	r.started = monotonic()
	r.state.Store(stateInFlight)
	if err := d.enter(r.ch); err != nil {
		r.finish(r.wrap(err))
		return false
	}
	err := d.check(r)
	if err != nil || r.Op.ranged() && r.size() == 0 {
		d.completed(r, err)
		return false
	}
	return true
}

// enter counts a request in, and holds it back during a reset.
func (d *Device) enter(ch *shared) error {
	for {
		ch.inflight.Add(1)
		if d.gate.isOpen() {
			return nil
		}
		ch.inflight.Add(-1)
		if err := d.gate.pass(); err != nil {
			return err
		}
	}
}

// completed ends a request of the shared channels.
func (d *Device) completed(r *Request, err error) {
	if r.internal {
		r.finish(r.wrap(err))
		return
	}
	ch, latency := r.ch, monotonic()-r.started
	ch.stats.record(r.Op, r.size(), latency, err)
	if r.async {
		ch.async.Add(-1)
	}
	r.finish(r.wrap(err))
	ch.inflight.Add(-1)
}

// Health reads how the medium is doing; ErrUnsupported where the device does not tell.
func (d *Device) Health() (Health, error) {
	if d.props.Health == nil {
		return Health{}, fmt.Errorf("%s: health: %w", d.name, ErrUnsupported)
	}
	ch := d.shared[0]
	if err := d.enter(ch); err != nil {
		return Health{}, fmt.Errorf("%s: health: %w", d.name, err)
	}
	defer ch.inflight.Add(-1)
	h, err := d.props.Health()
	if err != nil {
		return Health{}, fmt.Errorf("%s: health: %w", d.name, err)
	}
	return h, nil
}

// Resized takes notice of a size in bytes that the device has got from elsewhere; part of a block at its end does not count.
// Requests beyond a smaller end fail from now on, those under way by themselves. It never blocks.
func (d *Device) Resized(size int64) {
	if size >= 0 {
		d.size.Store(size &^ int64(d.props.BlockSize-1))
	}
}

// Resize changes the size of the device in bytes, a multiple of the block size; ErrUnsupported where it has none
// to change.
func (d *Device) Resize(size int64) error {
	if size <= 0 || size%int64(d.props.BlockSize) != 0 {
		return fmt.Errorf("%s: resize to %d bytes, want a multiple of %d: %w", d.name, size, d.props.BlockSize, ErrUnaligned)
	}
	ch := d.shared[0]
	if err := d.enter(ch); err != nil {
		return fmt.Errorf("%s: resize: %w", d.name, err)
	}
	defer ch.inflight.Add(-1)
	if d.props.ReadOnly {
		return fmt.Errorf("%s: resize: %w", d.name, ErrReadOnly)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.b.Resize(size); err != nil {
		return fmt.Errorf("%s: resize to %d bytes: %w", d.name, size, err)
	}
	d.size.Store(size)
	return nil
}

// Close waits for the requests under way and releases the device. Requests that come later fail with ErrClosed. It
// fails with ErrInUse while a Channel is open; the device stays open then.
func (d *Device) Close() error {
	d.mu.Lock()
	open := len(d.mu.channels)
	if d.mu.closed || open > 0 {
		defer d.mu.Unlock()
		if d.mu.closed {
			return fmt.Errorf("%s: %w", d.name, ErrClosed)
		}
		return fmt.Errorf("%s: %d channels are open: %w", d.name, open, ErrInUse)
	}
	d.mu.closed = true
	d.mu.Unlock()
	d.gate.close()
	d.drain(func() int64 { return 0 })
	removeChannels(d.shared)
	d.background.stop()
	err := d.closeShared()
	if e := d.b.Close(); e != nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%s: close: %w", d.name, err)
	}
	return nil
}

func (d *Device) closeShared() (err error) {
	for _, c := range d.shared {
		if e := c.close(); e != nil {
			err = e
		}
	}
	return err
}

// drain sleeps until no more requests are in flight than allowed. Those have waiters or the background reactor, which
// finish them.
func (d *Device) drain(allowed func() int64) {
	for wait := 10 * time.Microsecond; ; wait = min(2*wait, time.Millisecond) {
		var sum int64
		for _, c := range d.shared {
			sum += c.inflight.Load()
		}
		if sum <= allowed() {
			return
		}
		time.Sleep(wait)
	}
}

var clockStart = time.Now()

// monotonic is the time since the process started.
func monotonic() time.Duration { return time.Since(clockStart) }
