package nvmebdev

import (
	"errors"
	"sync"
	"time"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/spec"
)

// maxBatch is how many requests are handed to the driver, or taken from it, at once.
const maxBatch = 32

// queue is a queue pair of the driver. Submit may run on any goroutine; Poll, Wait and Close belong to the channel's poller.
type queue struct {
	b *Backend
	q *nvme.Queue

	mu   sync.Mutex
	free []*slot // a stack

	// The poller's own.
	done [maxBatch]*nvme.Request
	wait waiter
}

// slot is a request of the driver for one of the block layer.
type slot struct {
	req   nvme.Request
	upper *bdev.Request
}

// NewQueue opens a queue pair.
func (b *Backend) NewQueue() (bdev.Queue, error) {
	q, w, err := b.openQueue()
	if err != nil {
		return nil, translate(err)
	}
	n := q.Depth()
	queue := &queue{b: b, q: q, free: make([]*slot, n), wait: w}
	for i, s := range make([]slot, n) {
		s := &s
		s.req.Tag = s
		queue.free[i] = s
	}
	return queue, nil
}

// Submit starts requests in order; see bdev.Queue.
func (q *queue) Submit(rs []*bdev.Request) int {
	taken := 0
	for taken < len(rs) {
		n := q.submitBatch(rs[taken:min(taken+maxBatch, len(rs))])
		if n == 0 {
			break
		}
		taken += n
	}
	return taken
}

// submitBatch hands as many requests to the driver as it takes, under one lock, and returns how many that were; 0 means
// full. One that cannot be sent ends the batch and is completed after those before it were handed over.
func (q *queue) submitBatch(rs []*bdev.Request) int {
	var batch [maxBatch]*nvme.Request
	n, err := 0, error(nil)
	q.mu.Lock()
	for n < len(rs) && len(q.free) > 0 {
		s := q.free[len(q.free)-1]
		if err = q.b.prepare(s, rs[n]); err != nil {
			break
		}
		q.free = q.free[:len(q.free)-1]
		batch[n] = &s.req
		n++
	}
	taken := 0
	if n > 0 {
		taken = q.q.Submit(batch[:n])
	}
	for i := n - 1; i >= taken; i-- {
		q.put(batch[i])
	}
	q.mu.Unlock()
	if err != nil && taken == n {
		rs[taken].Complete(translate(err))
		taken++
	}
	return taken
}

// put is called with mu held.
func (q *queue) put(r *nvme.Request) {
	s := r.Tag.(*slot)
	s.upper = nil
	r.Buf, r.Data = nil, nil
	q.free = append(q.free, s)
}

// ops are the driver's operations for those of the block layer.
var ops = [...]nvme.Op{
	bdev.OpRead: nvme.OpRead, bdev.OpWrite: nvme.OpWrite, bdev.OpFlush: nvme.OpFlush, bdev.OpUnmap: nvme.OpDeallocate,
	bdev.OpWriteZeroes: nvme.OpWriteZeroes, bdev.OpCompare: nvme.OpCompare, bdev.OpCompareAndWrite: nvme.OpCompareAndWrite,
}

// prepare fills a slot for a request. The core has checked the range against the size it knows.
func (b *Backend) prepare(s *slot, r *bdev.Request) error {
	if int(r.Op) >= len(ops) || r.Op == bdev.OpAllocate {
		return bdev.ErrUnsupported
	}
	if err := b.usable(); err != nil {
		return err
	}
	q := &s.req
	q.Op, q.NS, q.LBA, q.Flags = ops[r.Op], b.ns, uint64(r.Offset)>>b.shift, 0
	q.Buf, q.Data, q.Blocks = r.Buf, nil, 0
	if r.FUA {
		q.Flags = nvme.FlagFUA
	}
	switch r.Op {
	case bdev.OpFlush:
		q.LBA, q.Buf, q.Flags = 0, nil, 0
	case bdev.OpUnmap, bdev.OpWriteZeroes:
		q.Buf, q.Blocks, q.Flags = nil, uint64(r.Length)>>b.shift, 0
	case bdev.OpCompareAndWrite:
		q.Buf, q.Data = r.Expect, r.Buf
		if err := b.o.memory.reach(q.Data); err != nil {
			return err
		}
	}
	if q.Buf != nil {
		if err := b.o.memory.reach(q.Buf); err != nil {
			return err
		}
	}
	if b.protect {
		q.PI = b.protection(q.LBA)
	}
	s.upper = r
	return nil
}

// protection has the controller make protection information on a write and check it on a read; reference tags are those of
// the address where the type ties them to it (NVM 1.0, section 5.2.1).
func (b *Backend) protection(lba uint64) nvme.Protect {
	p := nvme.Protect{Flags: spec.PRACT | spec.PRCHKGuard, RefTag: uint32(lba)}
	if b.opened.Protection != 3 {
		p.Flags |= spec.PRCHKRef
	}
	return p
}

// Poll completes finished requests; see bdev.Queue.
func (q *queue) Poll(limit int) int {
	done := 0
	for done < limit {
		n := q.q.Poll(q.done[:min(limit-done, maxBatch)])
		if n == 0 {
			break
		}
		q.complete(q.done[:n])
		done += n
	}
	if done > 0 {
		q.wait.found(q.q)
	} else {
		q.wait.missed(q.q)
	}
	return done
}

// complete ends requests. Their slots are free before the first of them is: whoever submits next finds room.
func (q *queue) complete(rs []*nvme.Request) {
	var upper [maxBatch]*bdev.Request
	q.mu.Lock()
	for i, r := range rs {
		upper[i] = r.Tag.(*slot).upper
	}
	errs := q.errors(rs)
	for _, r := range rs {
		q.put(r)
	}
	q.mu.Unlock()
	for i := range rs {
		var err error
		if errs != nil {
			err = errs[i]
		}
		upper[i].Complete(err)
	}
}

// errors translates the errors of requests, before their slots are used again; nil when there are none.
func (q *queue) errors(rs []*nvme.Request) []error {
	var errs []error
	for i, r := range rs {
		if r.Err != nil {
			if errs == nil {
				errs = make([]error, len(rs))
			}
			errs[i] = translate(r.Err)
		}
	}
	return errs
}

// Wait sleeps until a completion may be there; see bdev.Queue.
func (q *queue) Wait(timeout time.Duration) { q.wait.sleep(q.q, timeout) }

// Close deletes the queue pair. One of a controller that is gone is gone with it, which is no error.
func (q *queue) Close() error { return errors.Join(q.q.Close(), q.wait.close()) }
