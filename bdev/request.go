package bdev

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/internal/dmabuf"
)

// Op is the operation of a Request.
type Op uint8

// The operations of a block device. A backend declares which of them it carries out itself
// (Properties.Native); the core emulates the rest.
const (
	OpRead            Op = iota // fill Buf
	OpWrite                     // store Buf
	OpFlush                     // make completed writes durable
	OpUnmap                     // the range is not needed; it then reads as Properties.Unmapped says. A hint
	OpWriteZeroes               // the range reads as zeros
	OpAllocate                  // reserve host space for the range; contents unchanged. A no-op where that has no meaning
	OpCompare                   // ErrMiscompare unless the range holds Buf
	OpCompareAndWrite           // store Buf if the range holds Expect; atomic towards other compare-and-writes
	OpCopy                      // copy Length bytes from Source; the ranges do not overlap
	OpReset                     // wait until nothing is outstanding; requests submitted meanwhile are held back
	OpAbort                     // give up Target
	numOps
)

// Request is one I/O. It embeds its own completion, so that the read and write paths allocate nothing:
// take one from GetRequest, fill the first group of fields, hand it to Device.Do, Device.Submit or
// Channel.Submit, and give it back with PutRequest once it is done. The buffer belongs to the device from
// submission to completion. A request that is done may be submitted again.
type Request struct {
	Op     Op
	FUA    bool     // a write that is durable at completion
	Offset int64    // bytes from the start of the device, a multiple of the block size
	Length int64    // bytes; ignored (len(Buf) counts) by operations that carry a buffer
	Buf    []byte   // read: filled; write, compare: the data; compare-and-write: the new data
	Expect []byte   // compare-and-write: the data that must be there
	Source int64    // copy: byte offset that is copied from
	Target *Request // abort: the request to give up
	// Attended says that the submitter waits for the request at once, or for one that it submits right after it: no
	// background poller is armed for it.
	Attended bool
	Tag      uint64 // the submitter's own; the device does not look at it

	err      error
	state    atomic.Uint32
	polled   bool          // it goes through the shared queue, so its waiter may lead
	async    bool          // submitted without a waiter
	internal bool          // made by the core: no statistics, not counted in flight
	home     uint32        // which shared channel this request object uses when it is waited for
	waiter   chan struct{} // capacity 1, made once and kept with the pooled request
	started  time.Duration // monotonic, stamped at submission
	dev      *Device
	ch       *shared  // the shared channel that carries it
	own      *Channel // or the private one

	parent *Request     // of a piece of a split request
	pieces atomic.Int32 // of a parent: pieces outstanding, and one for the splitter
	failed atomic.Bool  // of a parent: err is taken
	user   []byte       // of a bounced piece: the caller's memory
	pool   *dmabuf.Pool // where its own is from

	next         *Request    // list of a queue, a flush or a worker pool
	older, newer *Request    // parked requests of a shared channel
	listed       bool        // it is on that list
	self         [1]*Request // itself, for submissions of one
}

// The states of a Request.
const (
	stateIdle     = iota // never submitted
	stateInFlight        // the device has it
	stateParked          // so, and its waiter sleeps on waiter
	stateDone
)

var (
	requestPool = sync.Pool{New: newRequest}
	lastHome    atomic.Uint32
)

// newRequest gives requests their home channel in turn. Pools are per processor, so requests of one processor mostly
// stay on few channels.
func newRequest() any {
	return &Request{home: lastHome.Add(1), waiter: make(chan struct{}, 1)}
}

// GetRequest takes a request from the pool, all fields zero.
func GetRequest() *Request {
	return requestPool.Get().(*Request)
}

// PutRequest gives a request back. It is done, or was never submitted, and nobody waits for it.
func PutRequest(r *Request) {
	r.Op, r.FUA, r.Offset, r.Length, r.Source = 0, false, 0, 0, 0
	r.Buf, r.Expect, r.Target, r.Tag, r.user = nil, nil, nil, 0, nil
	r.pool = nil
	r.err, r.dev, r.ch, r.own, r.parent = nil, nil, nil, nil, nil
	r.polled, r.async, r.internal, r.Attended = false, false, false, false
	r.state.Store(stateIdle)
	requestPool.Put(r)
}

// size is the length of the range in bytes.
func (r *Request) size() int64 {
	if r.Op.hasBuffer() {
		return int64(len(r.Buf))
	}
	return r.Length
}

// Done tells whether the request is finished. On a Channel that is said by Poll.
func (r *Request) Done() bool { return r.state.Load() == stateDone }

// Err is the result once the request is done.
func (r *Request) Err() error { return r.err }

// Complete finishes the request. Backends call it exactly once for each request that Submit took, from Queue.Submit
// or Queue.Poll and nowhere else; the request belongs to its submitter from then on.
func (r *Request) Complete(err error) {
	switch {
	case r.own != nil:
		r.own.completed(r, err)
	case r.parent != nil:
		r.completePiece(err)
	case r.dev != nil:
		r.dev.completed(r, err)
	default:
		r.finish(err)
	}
}

// finish publishes the result. The request may be in use again as soon as the state says done, so it is not touched
// afterwards, except when its waiter sleeps: that one cannot go on before the token.
func (r *Request) finish(err error) {
	r.err = err
	if r.state.Swap(stateDone) == stateParked {
		r.waiter <- struct{}{}
	}
}

// park sleeps until the request is done or somebody rouses it, and tells whether it slept at all. For requests that
// nobody needs to poll for.
func (r *Request) park() {
	if r.tryPark() {
		<-r.waiter
	}
}

// tryPark promises that the caller will receive from waiter. It fails when the request is done.
func (r *Request) tryPark() bool {
	if r.waiter == nil {
		r.waiter = make(chan struct{}, 1)
	}
	return r.state.CompareAndSwap(stateInFlight, stateParked)
}

// rouse wakes the waiter of a request that is not done. It fails when the waiter does not sleep or was just woken.
func (r *Request) rouse() bool {
	if !r.state.CompareAndSwap(stateParked, stateInFlight) {
		return false
	}
	r.waiter <- struct{}{}
	return true
}

// requestList is a first-in first-out list. It has no lock.
type requestList struct {
	head, tail *Request
}

func (l *requestList) push(r *Request) {
	r.next = nil
	if l.tail == nil {
		l.head = r
	} else {
		l.tail.next = r
	}
	l.tail = r
}

func (l *requestList) pop() *Request {
	r := l.head
	if r == nil {
		return nil
	}
	l.head, r.next = r.next, nil
	if l.head == nil {
		l.tail = nil
	}
	return r
}

// take empties the list and returns its first request.
func (l *requestList) take() *Request {
	r := l.head
	l.head, l.tail = nil, nil
	return r
}
