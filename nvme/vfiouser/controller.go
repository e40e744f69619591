package vfiouser

import "fmt"

// Device is what a Server serves: it makes a Controller for each client, so that nothing of one reaches the next but what the
// medium holds.
type Device interface {
	// Info describes the controllers; always the same.
	Info() Info
	// Attach makes a controller for a client. Nothing of the host is used after its Detach.
	Attach(h Host) (Controller, error)
}

// Controller is a controller for one client. The goroutine of Server.Serve alone calls its methods. Between two calls nothing uses the
// host's memory but commands that are under way.
type Controller interface {
	// Load and Store access size bytes (4 or 8) of the registers, at an offset below the doorbells that is a multiple of 4.
	Load(offset uint32, size int) (uint64, error)
	Store(offset uint32, size int, value uint64) error
	// Poll carries out or begins what doorbells announce, a bounded amount of it, completes what was under way, and returns how much that
	// was: 0 for nothing. It may take as long as the medium does.
	Poll() int
	// Working tells whether commands are under way, which a later Poll completes.
	Working() bool
	// Drain completes what is under way. It may take as long as the medium does.
	Drain() error
	// Enabled is false while doorbells mean nothing, so that nobody needs to poll.
	Enabled() bool
	// Reset forgets all queues and commands, as a reset of the PCI function does.
	Reset() error
	// Detach ends it, and what is under way. It works in any state, also after a method has panicked.
	Detach() error
}

// Info describes a Device to its hosts.
type Info struct {
	Vendor, Device       uint16 // PCI identifiers
	SubVendor, SubDevice uint16
	Revision             uint8
	Vectors              int // MSI-X interrupt vectors
	DoorbellBytes        int // size of all doorbells, from offset 0x1000 on
}

// Bounds of an Info.
const (
	maxServedVectors = 256
	maxDoorbellBytes = 1 << 20
)

func (i Info) validate() error {
	if i.Vectors < 0 || i.Vectors > maxServedVectors || i.DoorbellBytes < 8 || i.DoorbellBytes > maxDoorbellBytes {
		return fmt.Errorf("a controller with %d interrupt vectors and %d bytes of doorbells cannot be served: at most %d and %d",
			i.Vectors, i.DoorbellBytes, maxServedVectors, maxDoorbellBytes)
	}
	return nil
}

// Host is what a controller reaches during a session.
type Host struct {
	// Doorbells is shared with the host, who stores to it at any time. The controller loads it atomically, and clears
	// those of a queue that it creates. It is zero after a Reset.
	Doorbells []byte
	// Memory is the host's.
	Memory HostMemory
	// Interrupt signals an MSI-X vector, if the host wants to know.
	Interrupt func(vector int)
}

// HostMemory is memory of the host by IOVA. Every access is checked.
type HostMemory interface {
	// Slice returns n bytes as memory, nil where they are not mapped in one piece, or not for that. It is valid until Drain, Reset or
	// Detach returns.
	Slice(iova uint64, n int, write bool) []byte
	// Remote tells whether messages reach all of a range, for that, and nothing else does.
	Remote(iova uint64, n int, write bool) bool
	// Read and Write copy, also from and to memory that is reached by messages alone.
	Read(iova uint64, p []byte) error
	Write(iova uint64, p []byte) error
}
