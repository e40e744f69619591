package nvme

import (
	"sync"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Controller is one NVMe controller. Any goroutine may call any method.
type Controller struct {
	t  Transport
	o  Options
	mu sync.Mutex
}

// requestState is what the driver keeps of a request that it owns.
type requestState struct{}

// Queue is an I/O queue pair.
type Queue struct{ c *Controller }

// QueueOptions of OpenQueue.
type QueueOptions struct {
	// EventFD is an eventfd(2) of the caller that every completion signals through an interrupt; 0 is none, then completions are
	// only found by Poll.
	EventFD int
}

// Open initialises the controller behind a transport and scans its namespaces. It takes the transport over, and closes it
// when it fails. It waits at most for the controller's own worst time (CAP.TO) and a few AdminTimeouts.
func Open(t Transport, o Options) (*Controller, error) { return nil, ErrUnsupported }

// Poll takes events and looks after timeouts, failures and resets. It never blocks. It returns why the controller does not
// work, nil while it works or is being reset.
func (c *Controller) Poll() error { return ErrUnsupported }

// Reset resets the controller and waits until it works again; outstanding requests are sent again or fail with ErrReset.
func (c *Controller) Reset() error { return ErrUnsupported }

// Close fails what is outstanding, tells the controller to shut down, waits for it within a bound, and closes the transport.
// Queues need not be closed before.
func (c *Controller) Close() error { return ErrUnsupported }

// Name is the transport's name.
func (c *Controller) Name() string { return c.t.Name() }

// Identify is what the controller says of itself. The caller does not change it.
func (c *Controller) Identify() *spec.IdentifyController { return nil }

// Version is the specification that the controller says it implements.
func (c *Controller) Version() spec.VS { return 0 }

// Namespaces are those that are usable, by ascending identifier.
func (c *Controller) Namespaces() []*Namespace { return nil }

// Namespace returns a usable namespace; ErrNoNamespace with the reason otherwise.
func (c *Controller) Namespace(nsid uint32) (*Namespace, error) { return nil, ErrNoNamespace }

// Rescan looks at all namespaces again and waits for it.
func (c *Controller) Rescan() error { return ErrUnsupported }

// MaxQueues is how many I/O queue pairs the controller granted.
func (c *Controller) MaxQueues() int { return 0 }

// MemoryUsed is what the driver holds for this controller besides I/O buffers: rings, lists, trackers; in bytes.
func (c *Controller) MemoryUsed() int64 { return 0 }

// OpenQueue makes an I/O queue pair.
func (c *Controller) OpenQueue(o QueueOptions) (*Queue, error) { return nil, ErrNoQueues }

// Register lets the controller reach memory of the caller: outside the Go heap, whole pages. It stays registered until
// Unregister or Close.
func (c *Controller) Register(b []byte) error { return ErrUnsupported }

// Unregister ends what Register began; b is the same slice. No request may refer to it.
func (c *Controller) Unregister(b []byte) error { return ErrUnsupported }

// Alloc returns zeroed, registered memory for I/O buffers, page aligned. It is not part of MemoryUsed.
func (c *Controller) Alloc(size int) ([]byte, error) { return nil, ErrUnsupported }

// Free releases what Alloc gave; b is the same slice.
func (c *Controller) Free(b []byte) error { return ErrUnsupported }

// Submit starts requests in order and returns how many the queue took: fewer than len(rs) means that it is full; poll and
// submit the rest again. One doorbell is rung for all. A request that is refused counts as taken; Poll hands it out with its
// error. Any goroutine may call it.
func (q *Queue) Submit(rs []*Request) int { return 0 }

// Poll fills done with finished requests and returns how many there are. It never blocks. One goroutine at a time.
func (q *Queue) Poll(done []*Request) int { return 0 }

// Do submits one request and polls until it is done, calling Controller.Poll meanwhile. It returns the request's error. It is
// the queue's poller meanwhile: other requests that finish are kept for Poll.
func (q *Queue) Do(r *Request) error { return ErrUnsupported }

// Depth is how many commands can be outstanding.
func (q *Queue) Depth() int { return 0 }

// Outstanding is how many requests were submitted and not handed out by Poll.
func (q *Queue) Outstanding() int { return 0 }

// Close deletes the queue pair. ErrInUse while requests are outstanding.
func (q *Queue) Close() error { return ErrUnsupported }
