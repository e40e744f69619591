package nvme

import (
	"fmt"
	"sync/atomic"

	"github.com/blobkv/blobkv/nvme/spec"
)

// phaseBit is where Queue.head keeps the phase tag that the next completion has: 1 on the first pass of the ring.
const phaseBit = 1 << 31

// word3 is where the phase tag, the status and the command identifier of a completion are.
func (q *Queue) word3(head uint32) *uint32 {
	return word(q.cq.Bytes, int(head&^phaseBit)*spec.CompletionSize+12)
}

// arrived tells whether the word is of a completion that was not there before.
func arrived(w, head uint32) bool { return w>>16&1 == head>>31 }

// Poll fills done with finished requests and returns how many there are. It never blocks. One goroutine at a time.
func (q *Queue) Poll(done []*Request) int {
	n := q.takeKept(done)
	return n + q.poll(done[n:])
}

func (q *Queue) takeKept(done []*Request) (n int) {
	if q.kept.first == nil { // only the poller changes it
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for n < len(done) && q.kept.first != nil {
		done[n] = q.kept.pop()
		n++
	}
	q.live -= n
	return n
}

// poll is Poll without what Do kept. Without the lock it looks only at what is atomic: a poller that finds nothing does not
// stand in the way of those who submit.
func (q *Queue) poll(done []*Request) int {
	if len(done) == 0 {
		return 0
	}
	head := q.head.Load()
	if q.late.Load() == 0 && !arrived(atomic.LoadUint32(q.word3(head)), head) {
		return 0
	}
	q.mu.Lock()
	n := q.drain(done)
	q.live -= n
	q.mu.Unlock()
	return n
}

// drain takes completions until done is full, then sends what waited for trackers. It is called with mu held.
func (q *Queue) drain(done []*Request) (n int) {
	if q.mode == modeRunning {
		n = q.reap(done)
		q.pump()
	}
	for n < len(done) && q.ready.first != nil {
		done[n] = q.ready.pop()
		n++
	}
	q.settle()
	return n
}

// reap takes completions. Each finishes one request at most.
func (q *Queue) reap(done []*Request) (n int) {
	head := q.head.Load()
	taken := uint32(0)
	for n < len(done) {
		w := atomic.LoadUint32(q.word3(head))
		if !arrived(w, head) {
			break
		}
		if r := q.completed(q.cq.Bytes[int(head&^phaseBit)*spec.CompletionSize:], w); r != nil {
			r.Err = r.state.err
			done[n] = r
			n++
		}
		taken++
		if head++; head&^phaseBit == q.entries {
			head = ^head & phaseBit // the next pass has the other phase
		}
	}
	if taken == 0 {
		return n
	}
	q.head.Store(head)
	q.stats.Completions += uint64(taken)
	if q.unheard += taken; q.mode == modeRunning && (q.event != 0 || q.unheard >= (q.entries+3)/4) {
		q.hear()
	}
	return n
}

// pump sends what waits: commands to be sent again, requests without trackers or lists.
func (q *Queue) pump() {
	if len(q.resend) > 0 {
		for _, i := range q.resend {
			q.send(&q.trackers[i])
		}
		q.resend = q.resend[:0]
	}
	for r := q.backlog.pop(); r != nil; r = q.backlog.pop() {
		if !q.issue(r) {
			if r.state.next = q.backlog.first; r.state.next == nil {
				q.backlog.last = r
			}
			q.backlog.first = r
			break
		}
	}
	q.ring()
}

// completed ends the command of a completion and returns its request if that is finished. It trusts nothing in the
// completion: an identifier that is not outstanding is kept as a fault of the controller.
func (q *Queue) completed(b []byte, w uint32) *Request {
	cid := uint16(w)
	i := int(cid & cidIndexMask)
	if i >= len(q.trackers) || q.trackers[i].state != trackerSent || q.trackers[i].cid != cid {
		q.stats.Violations++
		q.blame(fmt.Errorf("completion of command %#04x, which is not outstanding: %w", cid, ErrProtocol))
		return nil
	}
	t := &q.trackers[i]
	q.sent--
	r := t.req
	status := spec.Status(w >> 17)
	if !status.OK() {
		if q.again(t, uint16(i), status) {
			return nil
		}
		q.fail(t, status)
	} else if r.state.kind == kindSingle {
		r.Result = getEntry(b)
	}
	return q.done(t)
}

// done frees a tracker and returns its request if that is finished now.
func (q *Queue) done(t *tracker) *Request {
	r := t.req
	q.freeTracker(t)
	r.state.pending--
	if r.state.pending > 0 || r.state.left > 0 { // with blocks left it is in the backlog
		return nil
	}
	return r
}

// again sends a command once more if its status says that the cause passes. It is called with mu held.
func (q *Queue) again(t *tracker, i uint16, s spec.Status) bool {
	r := t.req
	if !retryable(s) || int(t.tries) >= q.c.o.Retries || r.Flags&FlagNoRetry != 0 || r.state.kind == kindFused || q.id == 0 {
		return false
	}
	t.tries++
	q.stats.Retries++
	t.since, t.expired = 0, inTime
	if delay := q.c.retryDelay(s); delay > 0 {
		t.state, t.since = trackerDelay, q.c.o.Clock.Now()+delay
		return true
	}
	t.state = trackerReady
	q.resend = append(q.resend, i)
	return true
}

// fail records why a command failed; the first reason of a request counts, but of a fused pair the one that is not
// about the other command.
func (q *Queue) fail(t *tracker, s spec.Status) {
	r := t.req
	if r.state.err != nil && !isFusedAbort(r.state.err) {
		return
	}
	name := r.Op.String()
	if q.id == 0 {
		name = spec.AdminName(t.cmd.Opcode)
	} else if r.Op == OpRaw {
		name = spec.IOName(t.cmd.Opcode)
	}
	status := &StatusError{Command: name, Admin: q.id == 0, NSID: t.cmd.NSID, Status: s}
	if !status.Admin {
		status.LBA = t.cmd.LBA()
	}
	var err error = status
	if t.expired != inTime {
		err = fmt.Errorf("%w after %v: %w", ErrTimeout, q.c.o.IOTimeout, err)
	}
	r.state.err = err
}

func isFusedAbort(err error) bool {
	s, ok := err.(*StatusError)
	return ok && (s.Status.Code() == spec.StatusAbortFusedFailed || s.Status.Code() == spec.StatusAbortFusedMissing)
}

// spins is how often Do polls before it lets others run, and looks after the controller.
const spins = 64

// Do submits one request and polls until it is done, calling Controller.Poll meanwhile. It returns the request's error. It is
// the queue's poller meanwhile: other requests that finish are kept for Poll.
func (q *Queue) Do(r *Request) error {
	var batch [8]*Request
	for one, i := [1]*Request{r}, 0; q.Submit(one[:]) == 0; i++ {
		q.keep(batch[:q.poll(batch[:])])
		q.c.idle(i)
	}
	for i := 0; ; i++ {
		n := q.poll(batch[:])
		for k, d := range batch[:n] {
			if d == r {
				q.keep(batch[:k])
				q.keep(batch[k+1 : n])
				return r.Err
			}
		}
		q.keep(batch[:n])
		if i%spins == spins-1 {
			if turn := i / spins; turn&(turn+1) == 0 { // at first, and ever more rarely
				q.Wake()
			}
			q.c.idle(i / spins)
		}
	}
}

// keep holds finished requests for Poll.
func (q *Queue) keep(rs []*Request) {
	if len(rs) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range rs {
		q.kept.push(r)
	}
	q.live += len(rs)
}
