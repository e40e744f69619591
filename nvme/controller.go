package nvme

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Controller is one NVMe controller. Any goroutine may call any method.
type Controller struct {
	t       Transport
	o       Options
	memory  *memoryMap
	sleeper Sleeper     // nil: the controller does not sleep
	masker  Masker      // nil: interrupts cannot be masked
	faulty  atomic.Bool // a queue has a fault to look at
	ident   atomic.Pointer[spec.IdentifyController]
	spaces  atomic.Pointer[[]*Namespace] // usable ones, by identifier

	// Set while no I/O queue runs: by the first boot, and again by the boot of a reset.
	cap              spec.CAP
	vs               spec.VS
	quirks           Quirks
	page             uint64 // bytes
	maxBytes         uint64 // most data of a command, from MDTS and Options
	sgl              bool
	shadow, eventIdx DMA
	layout           queueLayout
	retryDelays      [4]time.Duration
	vendorStripe     uint8 // of QuirkStripe, log2 of pages
	hasShadow        bool
	writeCache       bool

	mu sync.Mutex
	controllerState
}

// controllerState is guarded by Controller.mu.
type controllerState struct {
	state                    lifecycle
	why                      error         // in stateFailed and stateClosed; in stateResetting the reason
	now                      time.Duration // of this turn
	looked                   time.Duration // when timeouts were looked at
	alive                    time.Duration // when a keep alive was sent
	admin                    *Queue
	queues                   map[uint16]*Queue
	granted                  int
	boot                     bootState
	scan                     scanState
	rescan                   bool // namespaces changed
	handles                  map[uint32]*Namespace
	refused                  map[uint32]error // why a namespace is not usable
	beyond                   uint32           // the first namespace that was not looked at, 0 is none
	events                   []Event
	asyncs                   int // asynchronous event requests outstanding
	aborting                 int // aborts outstanding
	callers                  int // admin commands of callers outstanding
	keepAlive                call
	keepsAlive, alivePending bool
	resets                   uint64
	used                     int64 // bytes
}

// lifecycle is what a controller is doing.
type lifecycle uint8

const (
	stateStarting lifecycle = iota
	stateRunning
	stateResetting
	stateFailed
	stateClosed
)

// memoryLimit bounds what the driver holds for a controller besides I/O buffers, in bytes; memoryFixed is set aside for
// what is not a queue pair.
const (
	memoryLimit  = 4 << 20
	memoryFixed  = 512 << 10
	adminEntries = 32
)

// Open initialises the controller behind a transport and scans its namespaces. It takes the transport over, and closes it
// when it fails. It waits at most for the controller's own worst time (CAP.TO), some twenty AdminTimeouts, and Transport.Reset;
// for all of that once more where the function was reset. Where the controller is somebody else's process (Aborter), it waits for
// CAP.TO and six AdminTimeouts in all.
func Open(t Transport, o Options) (*Controller, error) {
	c, err := open(t, o)
	if err != nil {
		return nil, joinErrors(fmt.Errorf("%s: %w", t.Name(), err), t.Close())
	}
	return c, nil
}

func open(t Transport, o Options) (*Controller, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if !littleEndian {
		return nil, fmt.Errorf("hosts with the most significant byte first: %w", ErrUnsupported)
	}
	c := &Controller{t: t, o: o, memory: newMemoryMap(t), page: pageSize}
	c.queues, c.handles, c.refused = map[uint16]*Queue{}, map[uint32]*Namespace{}, map[uint32]error{}
	c.spaces.Store(&[]*Namespace{})
	c.boot.c, c.scan.c = c, c
	if s, ok := t.(Sleeper); ok && s.Sleeps() {
		c.sleeper = s
	}
	if m, ok := t.(Masker); ok && m.Masks() {
		c.masker = m
	}
	defer AbortAfter(o.Context, t)()
	late := time.AfterFunc(openTimeouts*o.AdminTimeout, func() { abort(t, fmt.Errorf("its answers took too long in all: %w", ErrTimeout)) })
	defer late.Stop()
	if err := c.allocate(); err != nil {
		return nil, joinErrors(err, c.releaseAll())
	}
	c.now = o.Clock.Now()
	if err := c.start(); err != nil {
		c.fail(err)
	}
	late.Reset(openTimeouts*o.AdminTimeout + c.readyTimeout()) // known by now
	for i := 0; ; i++ {
		c.mu.Lock()
		state, why := c.state, c.why
		c.mu.Unlock()
		if state == stateRunning {
			return c, nil
		}
		if err := o.Context.Err(); state != stateFailed && err != nil {
			state, why = stateFailed, err
		}
		if state == stateFailed {
			return nil, joinErrors(why, c.releaseAll())
		}
		c.idle(i)
	}
}

// openTimeouts is how many AdminTimeouts the opening of somebody else's process may take: one that answers each message just in
// time must not take an hour.
const openTimeouts = 6

// AbortAfter aborts a transport that can be aborted once the context ends, unless the function that it returns was called before.
func AbortAfter(ctx context.Context, t Transport) (stop func() bool) {
	return context.AfterFunc(ctx, func() { abort(t, ctx.Err()) })
}

func abort(t Transport, cause error) {
	if a, ok := t.(Aborter); ok {
		a.Abort(cause)
	}
}

// allocate takes the memory that does not depend on the controller.
func (c *Controller) allocate() error {
	var err error
	for _, m := range []*DMA{&c.boot.call.data, &c.scan.call.data, &c.shadow, &c.eventIdx} {
		if *m, err = c.t.Alloc(pageSize); err != nil {
			return fmt.Errorf("memory of the driver: %w", err)
		}
		c.used += pageSize
	}
	c.admin, err = c.newQueue(0, queueLayout{entries: adminEntries})
	if err == nil {
		c.used += c.admin.memory
	}
	return err
}

// releaseAll gives all memory back.
func (c *Controller) releaseAll() error {
	var err error
	for _, q := range c.queues {
		err = joinErrors(err, q.release())
	}
	if c.admin != nil {
		err = joinErrors(err, c.admin.release())
	}
	for _, m := range []*DMA{&c.boot.call.data, &c.scan.call.data, &c.shadow, &c.eventIdx} {
		if m.Bytes != nil {
			err = joinErrors(err, c.t.Free(*m))
			*m = DMA{}
		}
	}
	if err = joinErrors(err, c.memory.close()); errors.Is(err, ErrGone) {
		return nil // the transport's Close releases it
	}
	return err
}

// idle is one turn of somebody who waits: it polls the controller and pauses, longer from turn to turn.
func (c *Controller) idle(turn int) {
	_ = c.Poll() // the waiter sees the state itself
	if c.sleeper != nil && turn&(turn+1) == 0 {
		c.admin.Wake()
	}
	switch {
	case turn < 64:
		c.o.Clock.Sleep(0)
	case turn < 256:
		c.o.Clock.Sleep(50 * time.Microsecond)
	default:
		c.o.Clock.Sleep(time.Millisecond)
	}
}

// Reset resets the controller and waits until it works again; outstanding requests are sent again or fail with ErrReset.
func (c *Controller) Reset() error {
	c.mu.Lock()
	if c.state == stateClosed {
		defer c.mu.Unlock()
		return fmt.Errorf("%s: reset: %w", c.Name(), c.why)
	}
	c.reset(fmt.Errorf("%w: asked for", ErrReset))
	c.mu.Unlock()
	for i := 0; ; i++ {
		c.idle(i)
		c.mu.Lock()
		state, why := c.state, c.why
		c.mu.Unlock()
		switch state {
		case stateRunning:
			return nil
		case stateFailed, stateClosed:
			return fmt.Errorf("%s: reset: %w", c.Name(), why)
		}
	}
}

// Name is the transport's name.
func (c *Controller) Name() string { return c.t.Name() }

// Identify is what the controller says of itself. The caller does not change it.
func (c *Controller) Identify() *spec.IdentifyController { return c.ident.Load() }

// Version is the specification that the controller says it implements.
func (c *Controller) Version() spec.VS { return c.vs }

// Capabilities is the register CAP.
func (c *Controller) Capabilities() spec.CAP { return c.cap }

// MaxQueues is how many I/O queue pairs there can be.
func (c *Controller) MaxQueues() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.granted
}

// Resets is how often the controller was reset since Open.
func (c *Controller) Resets() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resets
}

// MemoryUsed is what the driver holds for this controller besides I/O buffers: rings, lists, trackers, namespaces; in bytes.
func (c *Controller) MemoryUsed() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used + int64(len(c.handles))*namespaceBytes
}

// Namespaces are those that are usable, by ascending identifier.
func (c *Controller) Namespaces() []*Namespace { return slices.Clone(*c.spaces.Load()) }

// Namespace returns a usable namespace; ErrNoNamespace with the reason otherwise.
func (c *Controller) Namespace(nsid uint32) (*Namespace, error) {
	for _, n := range *c.spaces.Load() {
		if n.id == nsid {
			return n, nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refused[nsid]; err != nil {
		return nil, fmt.Errorf("%s: namespace %d: %w: %w", c.Name(), nsid, ErrNoNamespace, err)
	}
	if c.beyond != 0 && nsid >= c.beyond {
		return nil, fmt.Errorf("%s: namespace %d: %w: the driver looks at %d, which are those below %d; detach some that are not needed: %w",
			c.Name(), nsid, ErrNoNamespace, maxNamespaces, c.beyond, ErrUnsupported)
	}
	return nil, fmt.Errorf("%s: namespace %d: %w", c.Name(), nsid, ErrNoNamespace)
}

// Register lets the controller reach memory of the caller: outside the Go heap, whole pages. It stays registered until
// Unregister or Close.
func (c *Controller) Register(b []byte) error { return c.memory.register(b) }

// Unregister ends what Register began; b is the same slice. No request may refer to it.
func (c *Controller) Unregister(b []byte) error { return c.memory.remove(b, false) }

// Alloc returns zeroed, registered memory for I/O buffers, page aligned. It is not part of MemoryUsed.
func (c *Controller) Alloc(size int) ([]byte, error) { return c.memory.alloc(size) }

// Free releases what Alloc gave; b is the same slice. No request may refer to it.
func (c *Controller) Free(b []byte) error { return c.memory.remove(b, true) }
