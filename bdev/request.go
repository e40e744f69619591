package bdev

import (
	"sync/atomic"
	"time"
)

// Op is the operation of a Request.
type Op uint8

// The operations of a block device. A backend declares which of them it carries out itself
// (Properties.Native); the core emulates the rest.
const (
	OpRead Op = iota
	OpWrite
	OpFlush
	OpUnmap
	OpWriteZeroes
	OpAllocate
	OpCompare
	OpCompareAndWrite
	OpCopy
	OpReset
	OpAbort
	numOps
)

// Request is one I/O. It embeds its own completion, so that the read and write paths allocate nothing:
// take one from GetRequest, fill the first group of fields, hand it to Device.Do, Device.Submit or
// Channel.Submit, and give it back with PutRequest once it is done. The buffer belongs to the device from
// submission to completion.
type Request struct {
	Op     Op
	FUA    bool   // a write that is durable at completion
	Offset int64  // bytes from the start of the device, a multiple of the block size
	Length int64  // bytes; ignored (len(Buf) counts) by operations that carry a buffer
	Buf    []byte // read: filled; write, compare: the data; compare-and-write: the new data
	Expect []byte // compare-and-write: the data that must be there
	Source int64  // copy: byte offset that is copied from

	err     error
	state   atomic.Uint32 // requestState
	waiter  chan struct{} // capacity 1, made once and kept with the pooled request
	started time.Duration // monotonic, stamped at submission
	// the owner of package bdev adds what the core needs (parent of a split, links of intrusive lists …)
}
