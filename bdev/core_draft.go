package bdev

// Device is an open block device: a backend behind the core's validation, splitting, bouncing, emulation, statistics
// and queue sharing. All methods may be called from any goroutine.
type Device struct{}

// Options of New. The zero value is a good choice.
type Options struct {
	Policy   Policy
	Channels int // shared channels; 0: chosen from the backend's properties
}

func New(name string, b Backend, o Options) (*Device, error) { panic("draft") }
func (d *Device) Name() string                               { panic("draft") } // the device string, canonical
func (d *Device) Properties() Properties                     { panic("draft") }
func (d *Device) Size() int64                                { panic("draft") } // bytes
func (d *Device) Read(p []byte, off int64) error             { panic("draft") } // block-aligned offset and length
func (d *Device) Write(p []byte, off int64) error            { panic("draft") }
func (d *Device) Flush() error                               { panic("draft") }
func (d *Device) Unmap(off, n int64) error                   { panic("draft") }
func (d *Device) WriteZeroes(off, n int64) error             { panic("draft") }
func (d *Device) Allocate(off, n int64) error                { panic("draft") } // reserve host space; no-op where meaningless
func (d *Device) Do(r *Request) error                        { panic("draft") } // Submit and Wait
func (d *Device) Submit(r *Request)                          { panic("draft") } // always accepted; the result is Wait's. Progress without a waiter
func (d *Device) Wait(r *Request) error                      { panic("draft") } // exactly one waiter per request
func (d *Device) OpenChannel() (*Channel, error)             { panic("draft") } // private queue, one goroutine, no locks: benchmarks and reactors
func (d *Device) Stats() Stats                               { panic("draft") }
func (d *Device) Resize(size int64) error                    { panic("draft") }
func (d *Device) Close() error                               { panic("draft") }

// GetRequest takes a request from the pool; PutRequest gives it back (it is done and nobody waits).
func GetRequest() *Request  { panic("draft") }
func PutRequest(r *Request) { panic("draft") }

func (r *Request) Complete(err error) { panic("draft") } // backends: the request is finished
func (r *Request) Done() bool         { panic("draft") }
func (r *Request) Err() error         { panic("draft") } // valid once Done

// Channel is a private queue pair: one goroutine at a time submits and polls.
type Channel struct{}

func (c *Channel) Submit(rs []*Request) int { panic("draft") } // fewer than len: full
func (c *Channel) Poll(done []*Request) int { panic("draft") } // fills done with finished requests
func (c *Channel) Close() error             { panic("draft") }

type Stats struct{} // per operation: count, bytes, errors, latency histogram
