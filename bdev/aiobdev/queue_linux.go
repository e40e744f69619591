package aiobdev

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
)

// maxBatch is how many requests go into one io_submit, and how many completions into one io_getevents.
const maxBatch = 32

// queue is one AIO context. Submit may run on any goroutine and on several at once; Poll, Wait and Close belong to the
// channel's poller.
type queue struct {
	b       *Backend
	ring    *ring
	entries []event // the ring's, mapped; nil: use io_getevents

	free  *slots
	iocbs []iocb // per slot
	// requests holds per slot the request in flight. It keeps the buffer reachable while only the kernel knows it, and
	// its atomic store and load order the submitter before the poller.
	requests []atomic.Pointer[bdev.Request]

	// The poller's own: completions that io_getevents fetched and Poll has not yet handed out.
	stash   [maxBatch]event
	stashAt int
	stashed int
	timeout unix.Timespec
}

// newQueue opens an AIO context.
func newQueue(b *Backend) (*queue, error) {
	r, err := ioSetup(b.depth)
	if err != nil {
		return nil, setupError(b, err)
	}
	return &queue{
		b:        b,
		ring:     r,
		entries:  r.events(),
		free:     newSlots(b.depth),
		iocbs:    make([]iocb, b.depth),
		requests: make([]atomic.Pointer[bdev.Request], b.depth),
	}, nil
}

// setupError explains the failures of io_setup that an operator can mend.
func setupError(b *Backend, err error) error {
	switch err {
	case unix.EAGAIN:
		return fmt.Errorf("%s: io_setup for %d requests: %w: the system's AIO requests are used up (fs.aio-nr %s of "+
			"fs.aio-max-nr %s); raise fs.aio-max-nr with sysctl", b.path, b.depth, err,
			procValue("/proc/sys/fs/aio-nr"), procValue("/proc/sys/fs/aio-max-nr"))
	case unix.ENOSYS, unix.EPERM:
		return fmt.Errorf("%s: io_setup: %w (%w): this kernel or sandbox has no native AIO; use file:%s", b.path,
			bdev.ErrUnsupported, err, b.path)
	default:
		return fmt.Errorf("%s: io_setup for %d requests: %w", b.path, b.depth, err)
	}
}

// procValue reads a one-line file of /proc for an error message.
func procValue(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(text))
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

// submitBatch starts at most maxBatch requests with one system call and returns how many it took; 0 means full.
func (q *queue) submitBatch(rs []*bdev.Request) int {
	var batch [maxBatch]*iocb
	n := 0
	for n < len(rs) {
		slot, ok := q.free.take()
		if !ok {
			break
		}
		q.arm(slot, rs[n])
		batch[n] = &q.iocbs[slot]
		n++
	}
	if n == 0 {
		return 0
	}
	started, errno := ioSubmit(q.ring, batch[:n])
	if started == n {
		return n
	}
	return started + q.refused(batch[started:n], errno)
}

// arm fills a slot for a request.
func (q *queue) arm(slot uint32, r *bdev.Request) {
	opcode := uint16(cmdPread)
	if r.Op == bdev.OpWrite {
		opcode = cmdPwrite
	}
	q.iocbs[slot].prepare(opcode, q.b.fd, slot, r.Buf, r.Offset)
	q.requests[slot].Store(r)
}

// refused deals with the rest of a batch, of which the kernel took none because of errno, and returns how many
// requests are settled. Without an error the kernel stopped half way; the next attempt starts with the request that
// stopped it and learns why. The kernel running out of requests is the queue being full.
func (q *queue) refused(batch []*iocb, errno unix.Errno) int {
	settle := 0
	full := errno == unix.EAGAIN && q.outstanding() > len(batch)
	if errno != 0 && !full {
		settle = 1
	}
	for i := len(batch) - 1; i >= settle; i-- {
		q.release(uint32(batch[i].data))
	}
	if settle == 1 {
		c := batch[0]
		q.finish(event{data: c.data, res: -int64(errno)})
	}
	return settle
}

// outstanding counts the slots in use. Only the cold path of a kernel short of memory asks.
func (q *queue) outstanding() int {
	n := 0
	for i := range q.requests {
		if q.requests[i].Load() != nil {
			n++
		}
	}
	return n
}

// release empties a slot.
func (q *queue) release(slot uint32) {
	q.requests[slot].Store(nil)
	q.free.put(slot)
}

// Poll completes finished requests; see bdev.Queue.
func (q *queue) Poll(limit int) int {
	n := q.pollStash(limit)
	if q.entries != nil {
		return n + q.pollRing(limit-n)
	}
	if n < limit {
		q.fetch(0, 0)
		n += q.pollStash(limit - n)
	}
	return n
}

// pollRing consumes the mapped ring. The head is published once per batch: the kernel counts room in the ring by it
// and never overwrites what was not consumed.
func (q *queue) pollRing(limit int) int {
	head, tail := q.ring.head.Load(), q.ring.tail.Load()
	if head == tail {
		return 0
	}
	n := 0
	for ; head != tail && n < limit; n++ {
		ev := q.entries[head]
		if head++; head == uint32(len(q.entries)) {
			head = 0
		}
		q.finish(ev)
	}
	q.ring.head.Store(head)
	return n
}

// pollStash hands out what fetch has brought.
func (q *queue) pollStash(limit int) int {
	n := 0
	for ; q.stashAt < q.stashed && n < limit; n++ {
		ev := q.stash[q.stashAt]
		q.stashAt++
		q.finish(ev)
	}
	return n
}

// Wait sleeps in the kernel until a completion is there; see bdev.Queue. A signal ends it early, which the poller sees
// as finding nothing.
func (q *queue) Wait(timeout time.Duration) {
	if q.stashAt == q.stashed {
		q.fetch(1, max(timeout, 0))
	}
}

// fetch moves completions from the kernel to the empty stash. io_getevents consumes what it returns, so the stash
// keeps it for Poll.
func (q *queue) fetch(least int, timeout time.Duration) {
	q.timeout = unix.NsecToTimespec(int64(timeout))
	q.stashAt = 0
	q.stashed, _ = ioGetevents(q.ring, least, q.stash[:], &q.timeout)
}

// finish completes the request of an event, unless part of its transfer is still to be done. Loading the request comes
// first: it orders what the submitter wrote before what is read here.
func (q *queue) finish(ev event) {
	slot := uint32(ev.data)
	r := q.requests[slot].Load()
	c := &q.iocbs[slot]
	var err error
	if ev.res != int64(c.nbytes) {
		if q.resume(c, ev.res) {
			return
		}
		err = transferError(c, ev.res)
	}
	q.release(slot)
	r.Complete(err)
}

// resume starts the rest of a transfer that the kernel ended early, which it may do where the space of a file system
// or an interruption allowed only a part; the rest then succeeds or tells the reason.
func (q *queue) resume(c *iocb, res int64) bool {
	if res <= 0 || res%int64(q.b.blockSize) != 0 {
		return false
	}
	c.buf += uint64(res)
	c.offset += res
	c.nbytes -= uint64(res)
	batch := [1]*iocb{c}
	n, _ := ioSubmit(q.ring, batch[:])
	return n == 1
}

// transferError explains a failed transfer. The iocb may describe only the rest of it.
func transferError(c *iocb, res int64) error {
	if res < 0 {
		return ioError(unix.Errno(-res))
	}
	return shortError(res, int64(c.nbytes), c.offset)
}

// Close destroys the context.
func (q *queue) Close() error {
	if err := ioDestroy(q.ring); err != nil {
		return fmt.Errorf("%s: io_destroy: %w", q.b.path, err)
	}
	return nil
}
