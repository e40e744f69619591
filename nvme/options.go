package nvme

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// Options of Open. The zero value is good for most.
type Options struct {
	// Context ends Open early; nil is never. It means nothing afterwards.
	Context context.Context
	// Queues is how many I/O queue pairs to ask the controller for; it may grant fewer. 0 is one for each P.
	Queues int
	// Depth is the size of the rings of a queue pair in entries; one fewer commands are outstanding at most. 0 is 128. The
	// controller may allow fewer, and so does memory with many queues.
	Depth int
	// MaxTransfer bounds the data of one command, in bytes; larger requests are split. 0 is 256 KiB. MDTS may be lower.
	MaxTransfer int
	// AdminTimeout is how long an admin command may take before the controller is reset; 0 is 10 s. Format, sanitize and
	// firmware commands get LongTimeout, 0 is 10 min.
	AdminTimeout, LongTimeout time.Duration
	// IOTimeout is how long an I/O command may take before it is aborted; 0 is 30 s. When AbortTimeout, 0 is 5 s, passes
	// after that, the controller is reset. Both are measured from one Controller.Poll to another.
	IOTimeout, AbortTimeout time.Duration
	// Retries bounds how often one request is sent again after an error that passes, or a reset; 0 is 4, negative is never.
	Retries int
	// KeepAlive is the interval of keep alive commands, where the controller supports them; 0 is none.
	KeepAlive time.Duration
	// NoShadowDoorbells and NoSGL turn features off that are used where the controller offers them.
	NoShadowDoorbells, NoSGL bool
	// Clock is the time; nil is the system's.
	Clock Clock
	// OnEvent is called with what the controller reports, on the goroutine that polls it, with no lock of the driver held.
	// It must not block; nil drops events.
	OnEvent func(Event)
}

// Clock is monotonic time and waiting for it to pass. Tests take one that passes when told.
type Clock interface {
	// Now is the time since an arbitrary fixed origin.
	Now() time.Duration
	// Sleep returns about d later. A d of 0 only lets others run.
	Sleep(d time.Duration)
}

// Defaults and bounds of Options: ours, not the specification's.
const (
	defaultDepth        = 128
	maxDepth            = 1024
	defaultTransfer     = 256 << 10
	maxTransferLimit    = 2 << 20 // what one page of PRP entries reaches
	defaultAdminTimeout = 10 * time.Second
	defaultLongTimeout  = 10 * time.Minute
	defaultIOTimeout    = 30 * time.Second
	defaultAbortTimeout = 5 * time.Second
	defaultRetries      = 4
	maxQueues           = 128
)

func (o Options) withDefaults() (Options, error) {
	if o.Queues < 0 || o.Queues > maxQueues || o.Depth < 0 || o.Depth > maxDepth || o.MaxTransfer < 0 {
		return o, fmt.Errorf("%d queues of depth %d, transfers of %d bytes: at most %d queues of depth %d: %w",
			o.Queues, o.Depth, o.MaxTransfer, maxQueues, maxDepth, ErrInvalid)
	}
	if o.Context == nil {
		o.Context = context.Background()
	}
	orElse(&o.Queues, min(runtime.GOMAXPROCS(0), maxQueues))
	orElse(&o.Depth, defaultDepth)
	orElse(&o.MaxTransfer, defaultTransfer)
	o.MaxTransfer = min(o.MaxTransfer, maxTransferLimit)
	orElse(&o.AdminTimeout, defaultAdminTimeout)
	orElse(&o.LongTimeout, defaultLongTimeout)
	orElse(&o.IOTimeout, defaultIOTimeout)
	orElse(&o.AbortTimeout, defaultAbortTimeout)
	orElse(&o.Retries, defaultRetries)
	o.Retries = max(o.Retries, 0)
	if o.Clock == nil {
		o.Clock = systemClock{origin: time.Now()}
	}
	return o, nil
}

func orElse[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// systemClock reads the monotonic clock of the operating system.
type systemClock struct{ origin time.Time }

func (c systemClock) Now() time.Duration { return time.Since(c.origin) }

func (c systemClock) Sleep(d time.Duration) {
	if d <= 0 {
		runtime.Gosched()
		return
	}
	time.Sleep(d)
}
