package bdev

import "time"

// OpSet is a set of operations.
type OpSet uint32

// Policy says how a goroutine that polls for a completion waits between polls.
type Policy uint8

// The polling policies. Whatever the policy, a poller yields to goroutines that it has readied, between polls when there
// is one processor only, and otherwise about every millisecond before it sleeps or, under PolicyPoll, while it spins.
const (
	// PolicyAdaptive spins for about as long as the device's recent latency and then sleeps in the kernel. Of the waits for
	// reads every second one sleeps at once, and every 16th where sleeping takes much longer than spinning.
	PolicyAdaptive Policy = iota
	PolicyPoll            // spin; a processor is busy as long as somebody waits
	PolicySleep           // sleep in the kernel whenever a poll finds nothing
)

// Properties is what a backend declares about its device; nothing is guessed.
type Properties struct {
	BlockSize       int   // bytes; every offset and length is a multiple of it
	BlockCount      int64 // size of the device in blocks
	AtomicWriteUnit int   // bytes; a write of one aligned unit never tears at a power cut
	BufferAlign     int   // bytes; memory alignment that buffers need (the core bounces others)
	MaxTransfer     int   // bytes of buffer in one native request; longer ones are split; 0 for no limit
	OptimalBoundary int   // bytes; requests are split so that none crosses it; 0 for none
	WriteCache      bool  // completed writes are volatile until a flush
	Durable         bool  // what a flush covers survives power loss (false for RAM)
	Sparse          bool  // an image file: fresh ranges cost host metadata, Allocate and Unmap pay off
	ReadOnly        bool
	Unmapped        Unmapped // what a range reads as after OpUnmap
	Native          OpSet    // operations the backend carries out itself; read and write always
	Sync            OpSet    // of these, the ones that run through Backend.Execute and may block
	FUA             bool     // a queued write honours Request.FUA; otherwise the core flushes after it
	QueueDepth      int      // requests one Queue takes before it says full
	MaxQueues       int      // that may be open at a time; 0: any number
	MaxCompareWrite int      // bytes; a native OpCompareAndWrite, which goes through a queue, takes no more; longer ones are emulated
	// Reaches tells whether the device reaches a buffer where it is; nil for any. The core bounces others through memory of
	// a pool (dmabuf), which the device has to reach. Asked for each request, by any goroutine.
	Reaches func(b []byte) bool
	// Health reads how the medium is doing, waiting for the device; nil where there is nothing to read.
	Health func() (Health, error)
	Note   string // what an operator should know, e.g. "O_DIRECT refused by tmpfs: buffered I/O"
}

// Unmapped is what a range reads as after OpUnmap.
type Unmapped uint8

// The kinds of unmapped ranges.
const (
	UnmappedOldOrZeros Unmapped = iota // block by block the old data or zeros
	UnmappedZeros                      // zeros, where the device acted on the hint; the old data where it did not
	UnmappedAnything                   // the device does not say, or says all ones
)

// Health is how the medium below a device is doing, as the device counts it.
type Health struct {
	Warnings         []string `json:"warnings"`            // what the device warns of, in words; empty is well
	TemperatureC     *int     `json:"temperature_celsius"` // null: not reported
	SparePercent     int      `json:"spare_percent"`       // spare blocks that are left
	WearPercent      int      `json:"wear_percent"`        // of the life that the maker expected; may exceed 100
	BytesRead        uint64   `json:"bytes_read"`
	BytesWritten     uint64   `json:"bytes_written"`
	PowerOnHours     uint64   `json:"power_on_hours"`
	UnsafeShutdowns  uint64   `json:"unsafe_shutdowns"`
	MediaErrors      uint64   `json:"media_errors"`      // data that could not be recovered
	ControllerResets uint64   `json:"controller_resets"` // since the device was opened
}

// Backend is what a module implements. The core (Device) calls it with requests that are already validated, split
// and aligned to its Properties.
type Backend interface {
	Properties() Properties
	// NewQueue opens one submission and completion queue pair.
	NewQueue() (Queue, error)
	// Execute carries out one request of Properties.Sync on the calling goroutine and returns its result. Any
	// goroutine may call it at any time.
	Execute(r *Request) error
	// Resize changes the size in bytes; ErrUnsupported where the device cannot.
	Resize(size int64) error
	// Close releases the device. No queue is open and no Execute runs.
	Close() error
}

// Queue is one queue pair of a backend.
type Queue interface {
	// Submit starts requests in order and returns how many it took; fewer than len(rs) means the queue is full
	// and the caller polls before it tries again. It never waits for a completion. Safe for any goroutine. A request
	// that cannot be started is completed with its error and counts as taken.
	Submit(rs []*Request) int
	// Poll completes (Request.Complete) what the device has finished, at most max, and returns how many. It never
	// blocks. One goroutine at a time: the channel's poller.
	Poll(max int) int
	// Wait blocks until a completion is ready to be polled or the timeout has passed. The one method that may block.
	// The channel's poller only.
	Wait(timeout time.Duration)
	// Close releases the queue; nothing is outstanding.
	Close() error
}
