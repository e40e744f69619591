package nvme

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Queue is an I/O queue pair: a submission queue and its completion queue, of one size. The admin queue is one, too.
type Queue struct {
	c       *Controller
	id      uint16
	entries uint32
	event   int // eventfd, 0 is none
	vector  int

	head atomic.Uint32 // of the completion queue, phase expected there in bit 31; looked at without the lock
	late atomic.Int32  // there is more to do than to look at the completion queue: ready, backlog or resend are not empty

	mu sync.Mutex
	queueState
}

// queueState is guarded by Queue.mu.
type queueState struct {
	mode     queueMode
	why      error // in modeFailed
	tail     uint32
	rung     uint32 // the tail that the controller was told
	unheard  uint32 // completions taken since it was told the head
	sent     int    // trackers in trackerSent
	live     int    // requests taken and not handed out
	sq, cq   DMA
	sqBell   doorbell
	cqBell   doorbell
	trackers []tracker
	free     []uint16 // trackers, a stack
	resend   []uint16 // trackers to send again
	lists    listPool
	backlog  requestList // requests that need more trackers or lists
	ready    requestList // finished, not yet handed out
	kept     requestList // finished while Do waited for another one
	hot      region      // where the last buffer was
	hotTable *[]region   // of which table
	fault    error       // what the controller or the transport did wrong, for Controller.Poll
	stats    QueueStats
	memory   int64
}

// QueueStats counts what a queue pair did.
type QueueStats struct {
	Commands, Completions uint64
	Doorbells             uint64 // stores to submission and completion doorbells, shadows included
	Retries, Timeouts     uint64
	Violations            uint64 // completions that cannot be
}

// queueMode is what a queue does with requests.
type queueMode uint8

const (
	modeRunning queueMode = iota
	modePaused            // a reset is under way: nothing is sent
	modeFailed            // the controller does not work: requests fail
	modeClosed
)

// tracker is a command: where it is, what it belongs to, and a copy of it to send again.
type tracker struct {
	cmd     spec.Command
	req     *Request
	since   time.Duration // when Controller.Poll saw it first; 0 is not yet
	list    int32         // of listPool; -1 is none
	cid     uint16        // index in the low bits, generation above
	state   trackerState
	expired expiry
	tries   uint8
	exempt  bool // from timeouts: asynchronous event requests
}

type trackerState uint8

const (
	trackerFree  trackerState = iota
	trackerSent               // the controller has it
	trackerReady              // on resend
	trackerDelay              // waits for since to pass, then goes to resend
)

// expiry is how far a command that took too long has come.
type expiry uint8

const (
	inTime   expiry = iota
	expired         // no abort could be sent yet
	aborting        // an abort is under way or was answered; since is when
)

// cidIndexBits is how many bits of a command identifier are the tracker; the rest is a generation, so that a completion
// that comes twice does not end the tracker's next command.
const cidIndexBits = 10

const cidIndexMask = 1<<cidIndexBits - 1

var _ = [1]struct{}{}[maxDepth-1-cidIndexMask]

// requestList is a list through requestState.next.
type requestList struct{ first, last *Request }

func (l *requestList) push(r *Request) {
	r.state.next = nil
	if l.last == nil {
		l.first = r
	} else {
		l.last.state.next = r
	}
	l.last = r
}

func (l *requestList) pop() *Request {
	r := l.first
	if r == nil {
		return nil
	}
	if l.first = r.state.next; l.first == nil {
		l.last = nil
	}
	r.state.next = nil
	return r
}

// listPool is memory for PRP lists and ranges, in pieces of one size that never cross a page.
type listPool struct {
	mem  DMA
	size int
	free []int32
}

func (p *listPool) take() int32 {
	n := len(p.free)
	if n == 0 {
		return -1
	}
	i := p.free[n-1]
	p.free = p.free[:n-1]
	return i
}

func (p *listPool) bytes(i int32) []byte { return p.mem.Bytes[int(i)*p.size : (int(i)+1)*p.size] }
func (p *listPool) iova(i int32) uint64  { return p.mem.IOVA + uint64(i)*uint64(p.size) }

// layout of a queue pair in memory.
type queueLayout struct {
	entries, listSize, lists int
}

const (
	minEntries   = 2
	minLists     = 4
	pageSize     = 4096
	trackerBytes = int64(unsafe.Sizeof(tracker{}))
)

func (l queueLayout) ringBytes() (sq, cq int64) {
	return roundUp(int64(l.entries)*spec.CommandSize, pageSize), roundUp(int64(l.entries)*spec.CompletionSize, pageSize)
}

func (l queueLayout) bytes() int64 {
	sq, cq := l.ringBytes()
	return sq + cq + roundUp(int64(l.lists*l.listSize), pageSize) + int64(l.entries-1)*(trackerBytes+8)
}

// layoutQueue finds the largest rings and the most lists that fit a budget.
func layoutQueue(entries, listSize int, budget int64) (queueLayout, error) {
	for ; entries >= minEntries; entries /= 2 {
		l := queueLayout{entries: entries, listSize: listSize}
		room := budget - l.bytes() - pageSize
		if l.lists = int(min(room/int64(listSize), int64(entries-1))); l.lists >= min(minLists, entries-1) {
			return l, nil
		}
	}
	return queueLayout{}, fmt.Errorf("a queue pair does not fit %d bytes: %w", budget, ErrMemory)
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// newQueue allocates a queue pair; the controller does not know it yet.
func (c *Controller) newQueue(id uint16, l queueLayout) (*Queue, error) {
	q := &Queue{c: c, id: id, entries: uint32(l.entries)}
	q.trackers = make([]tracker, l.entries-1)
	q.free = make([]uint16, 0, len(q.trackers))
	q.resend = make([]uint16, 0, len(q.trackers))
	q.memory = l.bytes()
	var err error
	sq, cq := l.ringBytes()
	if q.sq, err = c.t.Alloc(int(sq)); err == nil {
		if q.cq, err = c.t.Alloc(int(cq)); err == nil && l.lists > 0 {
			q.lists.mem, err = c.t.Alloc(int(roundUp(int64(l.lists*l.listSize), pageSize)))
		}
	}
	if err != nil {
		return nil, joinErrors(fmt.Errorf("%s: memory of queue %d: %w", c.Name(), id, err), q.release())
	}
	q.lists.size = l.listSize
	for i := range l.lists {
		q.lists.free = append(q.lists.free, int32(i))
	}
	for i := range q.trackers {
		q.trackers[i].cid, q.trackers[i].list = uint16(i), -1
		q.free = append(q.free, uint16(len(q.trackers)-1-i))
	}
	q.mode = modePaused
	q.rewind()
	return q, nil
}

// release gives the memory of the queue back.
func (q *Queue) release() error {
	var err error
	for _, m := range []*DMA{&q.sq, &q.cq, &q.lists.mem} {
		if m.Bytes != nil {
			err = joinErrors(err, q.c.t.Free(*m))
			*m = DMA{}
		}
	}
	return err
}

// rewind makes the rings those of a queue that was just created.
func (q *Queue) rewind() {
	clear(q.sq.Bytes)
	clear(q.cq.Bytes)
	q.tail, q.rung, q.unheard = 0, 0, 0
	q.head.Store(phaseBit)
	dstrd := q.c.cap.DSTRD()
	q.sqBell = newDoorbell(q.c.t, spec.SubmissionDoorbell(q.id, dstrd))
	q.cqBell = newDoorbell(q.c.t, spec.CompletionDoorbell(q.id, dstrd))
	if q.id != 0 && q.c.hasShadow {
		q.sqBell.shadowed(q.c.shadow.Bytes, q.c.eventIdx.Bytes)
		q.cqBell.shadowed(q.c.shadow.Bytes, q.c.eventIdx.Bytes)
	}
}

// Depth is how many commands can be outstanding.
func (q *Queue) Depth() int { return int(q.entries) - 1 }

// ID is the queue's identifier.
func (q *Queue) ID() int { return int(q.id) }

// Outstanding is how many requests were submitted and not handed out by Poll.
func (q *Queue) Outstanding() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.live
}

// Stats returns the present figures.
func (q *Queue) Stats() QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stats
}

// takeTracker is called with mu held and a free tracker.
func (q *Queue) takeTracker(r *Request) (*tracker, uint16) {
	n := len(q.free) - 1
	i := q.free[n]
	q.free = q.free[:n]
	t := &q.trackers[i]
	t.req, t.since, t.expired, t.tries, t.exempt = r, 0, inTime, 0, false
	return t, i
}

// freeTracker is called with mu held.
func (q *Queue) freeTracker(t *tracker) {
	if t.list >= 0 {
		q.lists.free = append(q.lists.free, t.list)
		t.list = -1
	}
	t.req, t.state = nil, trackerFree
	q.free = append(q.free, t.cid&cidIndexMask)
}

// send writes a tracker's command to the submission queue, under a new generation of its identifier. The doorbell is rung
// later, for all. It is called with mu held. There is room: there are fewer trackers than entries, and a controller
// fetches commands in order, so what a free tracker had was fetched.
func (q *Queue) send(t *tracker) {
	t.cid += 1 << cidIndexBits
	if t.cid>>cidIndexBits == 0xFFFF>>cidIndexBits {
		t.cid &= cidIndexMask // all ones is no command identifier (base 2.0, section 3.3.1.3)
	}
	t.cmd.CID = t.cid
	t.state = trackerSent
	t.cmd.Put(q.sq.Bytes[q.tail*spec.CommandSize:])
	if q.tail++; q.tail == q.entries {
		q.tail = 0
	}
	q.sent++
	q.stats.Commands++
}

// ring tells the controller about new commands and, before it could run out of completion entries, about those that were
// taken. It is called with mu held.
func (q *Queue) ring() {
	if q.mode != modeRunning {
		return
	}
	if q.unheard+uint32(q.sent) >= q.entries-1 && q.unheard > 0 {
		q.hear()
	}
	if q.tail != q.rung {
		q.rung = q.tail
		q.stats.Doorbells++
		if err := q.sqBell.ring(q.tail); err != nil {
			q.blame(err)
		}
	}
}

// hear tells the controller which completions were taken.
func (q *Queue) hear() {
	q.unheard = 0
	q.stats.Doorbells++
	if err := q.cqBell.ring(q.head.Load() &^ phaseBit); err != nil {
		q.blame(err)
	}
}

// Wake tells a controller that may sleep (see Sleeper) about commands that wait. Whoever has polled in vain for a while, or is
// about to sleep until an interrupt, calls it. On other transports, and with nothing outstanding, it does nothing.
func (q *Queue) Wake() {
	if q.c.sleeper == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mode != modeRunning || q.sent == 0 {
		return
	}
	if err := q.c.sleeper.Wake(); err != nil {
		q.blame(err)
	}
}

// Mask holds back the interrupts of a queue with an EventFD, or lets them through again. Whoever finds completions by
// Poll masks them, and unmasks before it sleeps: a completion that came in between then interrupts. Where the
// transport cannot mask, interrupts go on and Mask does nothing. It is called by whoever polls.
func (q *Queue) Mask(masked bool) {
	if q.c.masker == nil || q.event == 0 {
		return
	}
	if err := q.c.masker.Mask(q.vector, masked); err != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.blame(err)
	}
}

// blame keeps the first thing that went wrong for Controller.Poll, which acts on it. It is called with mu held.
func (q *Queue) blame(err error) {
	if q.fault == nil {
		q.fault = fmt.Errorf("queue %d: %w", q.id, err)
		q.c.faulty.Store(true)
	}
}
