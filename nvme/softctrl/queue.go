package softctrl

import (
	"sync"
	"sync/atomic"

	"github.com/blobkv/blobkv/nvme/spec"
)

// subQueue is a submission queue. That of admin commands is guarded by Controller.mu instead of its own.
type subQueue struct {
	id   uint16
	size uint32
	iova uint64
	cq   *compQueue

	mu      sync.Mutex
	head    uint32
	deleted bool
	scratch scratch
	fused   spec.Command // the first of a pair
	pairing bool
}

// compQueue is a completion queue.
type compQueue struct {
	id         uint16
	size       uint32
	iova       uint64
	interrupts bool
	vector     uint16

	mu       sync.Mutex
	tail     uint32
	phase    bool
	hostHead uint32            // the host's, as its doorbell said when it was looked at last
	waiting  []spec.Completion // completions that found the queue full
}

// shadowBuffers are those of doorbell buffer config.
type shadowBuffers struct{ doorbells, events uint64 }

// shadowWord is the word of a doorbell in one of the buffers; nil where the memory has left.
func (c *Controller) shadowWord(base uint64, index int) *uint32 {
	b := c.mem.Translate(base+uint64(index*(4<<c.cfg.DoorbellStride)), 4, true)
	if b == nil {
		return nil
	}
	return word(b, 0)
}

// ring acts on a store to a doorbell.
func (c *Controller) ring(offset int, value uint32) {
	stride := 4 << c.cfg.DoorbellStride
	index := offset / stride
	if offset%stride != 0 || index >= 2*len(c.subs) {
		return
	}
	atomic.StoreUint32(c.doorbell(index), value)
	switch id := index / 2; {
	case index%2 == 1:
		if cq := c.comps[id].Load(); cq != nil {
			c.drain(cq)
		}
	case id == 0:
		c.serveAdmin()
	default:
		// Nobody rings again for what a host with shadow doorbells adds meanwhile, so all of it is done.
		for sq := c.subs[id].Load(); sq != nil && c.serve(sq) >= int(sq.size); {
			continue
		}
	}
}

// told is the value of a doorbell: of its shadow where the host uses those.
func (c *Controller) told(index int, admin bool) uint32 {
	if s := c.shadow.Load(); s != nil && !admin {
		if w := c.shadowWord(s.doorbells, index); w != nil {
			return atomic.LoadUint32(w)
		}
	}
	return atomic.LoadUint32(c.doorbell(index))
}

// caughtUp tells a host with shadow doorbells to ring from here on; false when it has gone further meanwhile.
func (c *Controller) caughtUp(sq *subQueue) bool {
	s := c.shadow.Load()
	if s == nil || sq.id == 0 {
		return true
	}
	if w := c.shadowWord(s.events, 2*int(sq.id)); w != nil {
		atomic.StoreUint32(w, sq.head)
	}
	return c.told(2*int(sq.id), false) == sq.head
}

func (c *Controller) serveAdmin() int {
	if sq := c.subs[0].Load(); sq == nil || c.told(0, true) == sq.seen() {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sq := c.subs[0].Load()
	if sq == nil {
		return 0
	}
	return c.consume(sq)
}

// seen is the head of the admin queue without the lock.
func (q *subQueue) seen() uint32 { return atomic.LoadUint32(&q.head) }

// serve carries out the commands of an I/O queue.
func (c *Controller) serve(sq *subQueue) int {
	if c.told(2*int(sq.id), false) == sq.seen() && c.shadow.Load() == nil {
		return 0
	}
	sq.mu.Lock()
	defer sq.mu.Unlock()
	if sq.deleted {
		return 0
	}
	return c.consume(sq)
}

// consume is called with the queue's lock held. It takes about a ring of commands at most: a host that keeps on submitting
// is not to keep its server from other queues.
func (c *Controller) consume(sq *subQueue) (n int) {
	for n < int(sq.size) && !c.removed.Load() {
		tail := c.told(2*int(sq.id), sq.id == 0)
		if tail == sq.head {
			if c.caughtUp(sq) {
				return n
			}
			continue
		}
		ring := c.mem.Translate(sq.iova, int(sq.size)*spec.CommandSize, false)
		if tail >= sq.size || ring == nil {
			return n // a doorbell that is out of range, or memory that has left: nothing can be served
		}
		for sq.head != tail && !c.removed.Load() {
			var cmd spec.Command
			cmd.Get(ring[sq.head*spec.CommandSize:])
			next := sq.head + 1
			if next == sq.size {
				next = 0
			}
			atomic.StoreUint32(&sq.head, next)
			n++
			c.handle(sq, &cmd)
			if c.subs[sq.id].Load() != sq {
				return n // an admin command took the queue away
			}
		}
	}
	return n
}

// handle carries out one command and completes it.
func (c *Controller) handle(sq *subQueue, cmd *spec.Command) {
	if c.cfg.Observe != nil {
		c.cfg.Observe(sq.id, *cmd)
	}
	if c.busy.Load() != 0 {
		if f := c.fault(sq, cmd); f != nil {
			c.suffer(f, sq, cmd)
			return
		}
	}
	if sq.id != 0 && (cmd.Flags&spec.FuseMask != 0 || sq.pairing) {
		c.handleFused(sq, cmd)
		return
	}
	if sq.id == 0 && cmd.Opcode == spec.AdminAsyncEvent {
		c.takeRequest(sq, cmd)
		return
	}
	status, result := c.begin(sq, cmd, true)
	if status != underWay {
		c.complete(sq, cmd, status, result)
	}
}

// execute carries out one command. It is called with the queue's lock held.
func (c *Controller) execute(sq *subQueue, cmd *spec.Command) (spec.Status, uint64) {
	return c.begin(sq, cmd, false)
}

// begin is execute, or begins the command where it may end later, and returns underWay.
func (c *Controller) begin(sq *subQueue, cmd *spec.Command, later bool) (spec.Status, uint64) {
	if sq.id == 0 {
		return c.executeAdmin(sq, cmd)
	}
	return c.executeIO(sq, cmd, later)
}

// complete posts a completion. Called with the queue's lock held.
func (c *Controller) complete(sq *subQueue, cmd *spec.Command, status spec.Status, result uint64) {
	if !status.OK() && sq.id != 0 {
		status |= c.dnr(status)
	}
	c.post(sq.cq, spec.Completion{DW0: uint32(result), DW1: uint32(result >> 32), SQHD: uint16(sq.head), SQID: sq.id, CID: cmd.CID, Status: status})
}

// dnr sets do not retry on errors of the controller's own that will not pass.
func (c *Controller) dnr(s spec.Status) spec.Status {
	switch s.Code() {
	case spec.StatusInvalidOpcode, spec.StatusInvalidField, spec.StatusLBAOutOfRange, spec.StatusInvalidNamespace, spec.StatusWriteProtected:
		return spec.StatusDNR
	}
	return 0
}

// post puts a completion into its queue, or in line when that is full.
func (c *Controller) post(cq *compQueue, e spec.Completion) {
	cq.mu.Lock()
	if len(cq.waiting) > 0 || !c.place(cq, &e) {
		cq.waiting = append(cq.waiting, e)
	}
	cq.mu.Unlock()
	if cq.interrupts && c.cfg.Interrupt != nil {
		c.cfg.Interrupt(cq.vector)
	}
}

// place writes a completion; false when there is no room.
func (c *Controller) place(cq *compQueue, e *spec.Completion) bool {
	next := cq.tail + 1
	if next == cq.size {
		next = 0
	}
	if next == cq.hostHead { // a look at the doorbell takes it from the host's processor
		if cq.hostHead = c.told(2*int(cq.id)+1, cq.id == 0); next == cq.hostHead {
			return false
		}
	}
	b := c.mem.Translate(cq.iova+uint64(cq.tail)*spec.CompletionSize, spec.CompletionSize, true)
	if b == nil {
		return true // the host took its memory away
	}
	e.Phase = cq.phase
	var entry [spec.CompletionSize]byte
	e.Put(entry[:])
	if c.cfg.MangleCompletion != nil {
		c.mangle(e.SQID, entry[:])
	}
	copy(b[:12], entry[:12])
	// The phase tag last: the host polls for it and reads the rest only then.
	atomic.StoreUint32(word(b, 12), *word(entry[:], 12))
	if cq.tail = next; next == 0 {
		cq.phase = !cq.phase
	}
	return true
}

// mangle is apart so that the entry stays on the stack where nobody mangles.
func (c *Controller) mangle(sqid uint16, entry []byte) {
	b := append([]byte(nil), entry...)
	c.cfg.MangleCompletion(sqid, b)
	copy(entry, b)
}

// drain posts what waited for room.
func (c *Controller) drain(cq *compQueue) {
	cq.mu.Lock()
	defer cq.mu.Unlock()
	for len(cq.waiting) > 0 && c.place(cq, &cq.waiting[0]) {
		cq.waiting = cq.waiting[1:]
	}
}
