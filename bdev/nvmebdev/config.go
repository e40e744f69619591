package nvmebdev

import (
	"context"
	"time"

	"github.com/blobkv/blobkv/bdev"
)

// Config of Open and New. The zero value opens the only namespace of a controller for reading and writing.
type Config struct {
	// Context ends Open early; nil is never. It means nothing afterwards.
	Context context.Context
	// Namespace is the identifier of the namespace; 0 is the only one there is.
	Namespace uint32
	// ReadOnly changes nothing on the namespace and admits other readers.
	ReadOnly bool
	// Queues is how many I/O queue pairs to ask the controller for; 0 is DefaultQueues. The first to open a controller decides.
	Queues int
	// Policy is how pollers will wait; it decides whether a queue gets an interrupt.
	Policy bdev.Policy
	// IOTimeout is how long a command may take before it is aborted, AbortTimeout how much longer before the controller is
	// reset, AdminTimeout the same for admin commands. 0 is the driver's default: 30 s, 5 s, 10 s.
	IOTimeout, AbortTimeout, AdminTimeout time.Duration
}

// DefaultQueues is Config.Queues when that is 0: enough for the shared channels of a device and some private ones.
const DefaultQueues = 16

const (
	watchPeriod = 100 * time.Millisecond // how often a controller is looked after
	hurryPeriod = time.Millisecond       // while it is being reset
	keepAlive   = 2 * time.Second        // between keep alive commands, where there are any
	bufferAlign = 4                      // bytes; what PRP entries can express (base 2.0, section 4.1.1)
)
