// Package bdev is the block device layer: one interface for every device, and a core that gives each backend what it
// lacks.
//
// A backend (package bdev/<name>bdev) declares Properties and implements Backend and Queue; it sees requests that are
// validated, split and aligned to what it declared. Device is what everybody above uses. Reading order: backend.go
// (what a backend implements), request.go, device.go (the API), shared.go (how many goroutines share a queue),
// mallocbdev (the smallest backend, the template for new ones).
//
// # Durability
//
// When a flush completes, every write completed before the flush was submitted survives power loss, on a device whose
// Properties say Durable. A write with FUA is durable when it completes. Unflushed writes may be lost in any subset,
// land in any order, and tear at AtomicWriteUnit.
//
// # Goroutines
//
// All methods of Device may be called from any goroutine. A request has one owner: from Submit (or Do) until it is
// done it and its buffers belong to the device. Exactly one goroutine waits for a request. A Channel belongs to one
// goroutine at a time.
//
// Synchronous I/O runs on its caller's goroutine. The queue of a device has one poller at a time, the leader: a
// goroutine that waits for its own request polls for everybody and hands the lead on when its request is done; the
// others sleep until their request is done or the lead is theirs. A completion sets the request's state and readies
// its waiter, nothing more, so no callback can meet a lock that the leader holds. A leader whose poll has readied
// others lets them run before it goes on, and submits together what they read next (gather.go). Requests submitted
// without a waiter are polled for by a reactor, which is armed only while they are outstanding: an idle device costs
// nothing.
package bdev
