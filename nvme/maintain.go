package nvme

import (
	"errors"
	"fmt"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Poll takes events and looks after timeouts, failures and resets, one step at a time. It never waits for the controller, but
// for Transport.Reset where a controller reset has failed. It returns why the controller does not work, nil while it works or is being reset.
func (c *Controller) Poll() error {
	if !c.mu.TryLock() {
		return nil // somebody else is at it
	}
	c.turn()
	var why error
	if c.state == stateFailed || c.state == stateClosed {
		why = c.why
	}
	events := c.events
	c.events = nil
	c.mu.Unlock()
	for _, e := range events {
		c.o.OnEvent(e)
	}
	return why
}

// event keeps an event until no lock is held.
func (c *Controller) event(e Event) {
	if c.o.OnEvent != nil && len(c.events) < maxEvents {
		c.events = append(c.events, e)
	}
}

// maxEvents bounds what one turn reports: a controller that floods its host with events is not to fill memory.
const maxEvents = 256

// turn is called with mu held.
func (c *Controller) turn() {
	if c.state == stateFailed || c.state == stateClosed {
		return
	}
	c.now = c.o.Clock.Now()
	c.pollAdmin()
	if c.faulty.Load() {
		c.lookAtFaults()
	}
	switch c.state {
	case stateStarting, stateResetting:
		if err := c.boot.advance(); err != nil {
			c.bootFailed(err)
		}
	case stateRunning:
		c.watch()
	}
}

// lookAtFaults acts on what queues found: a controller that answers what it was not asked cannot be trusted to know which
// buffers are its own, so it is reset.
func (c *Controller) lookAtFaults() {
	c.faulty.Store(false)
	fault := c.admin.takeFault()
	for _, q := range c.queues {
		if q != nil {
			if f := q.takeFault(); fault == nil {
				fault = f
			}
		}
	}
	switch {
	case fault == nil || c.state == stateFailed:
	case errors.Is(fault, ErrGone):
		c.fail(fault)
	default:
		c.reset(fault)
	}
}

func (q *Queue) takeFault() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := q.fault
	q.fault = nil
	return f
}

// watch looks after a controller that works.
func (c *Controller) watch() {
	if c.rescan && !c.scan.running() {
		c.rescan = false
		if err := c.beginScan(true); err != nil {
			c.reset(err)
			return
		}
	}
	if c.scan.running() {
		if err := c.scan.advance(); err != nil {
			c.reset(err)
			return
		}
	}
	if c.now-c.looked < c.interval() {
		return
	}
	c.looked = c.now
	s, err := c.status()
	switch {
	case err != nil && errors.Is(err, ErrGone):
		c.fail(err)
	case err != nil:
		c.reset(err)
	case s.CFS():
		c.reset(fmt.Errorf("CSTS.CFS is set: %w", ErrFailed))
	case !s.RDY():
		c.reset(fmt.Errorf("CSTS.RDY is 0, the controller was reset behind the driver's back: %w", ErrReset))
	default:
		c.watchCommands()
	}
}

// interval is how often commands and registers are looked at.
func (c *Controller) interval() time.Duration {
	return min(max(min(c.o.IOTimeout, c.o.AbortTimeout)/16, time.Millisecond), 50*time.Millisecond)
}

func (c *Controller) watchCommands() {
	for _, q := range c.queues {
		if q == nil {
			continue
		}
		aborts, why := q.overdue(c.now)
		for _, cid := range aborts {
			if cid != noCID && c.sendAbort(q.id, cid) {
				q.abortSent(cid)
			}
		}
		if why != nil {
			c.reset(why)
			return
		}
	}
	if c.keepsAlive && c.now-c.alive >= c.o.KeepAlive {
		c.sendKeepAlive()
	}
}

// noCID is no command identifier (base 2.0, section 3.3.1.3).
const noCID = 0xFFFF

// overdue finds the commands that took too long: those to abort, at most a few at a time, and one that not even an abort
// has ended, which is why the controller is to be reset.
func (q *Queue) overdue(now time.Duration) (aborts [4]uint16, why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for i := range aborts {
		aborts[i] = noCID
	}
	for i := range q.trackers {
		t := &q.trackers[i]
		switch {
		case t.state == trackerDelay && now >= t.since:
			t.state, t.since = trackerReady, 0
			q.resend = append(q.resend, uint16(i))
		case t.state != trackerSent:
		case t.since == 0:
			t.since = max(now, 1)
		case t.expired == inTime && now-t.since >= q.c.o.IOTimeout:
			t.expired, t.since = expired, now
			q.stats.Timeouts++
		case t.expired != inTime && now-t.since >= q.c.o.AbortTimeout:
			why = fmt.Errorf("queue %d, command %#04x, %s: %w", q.id, t.cid, spec.IOName(t.cmd.Opcode), ErrTimeout)
		}
		if t.state == trackerSent && t.expired == expired && n < len(aborts) {
			aborts[n] = t.cid
			n++
		}
	}
	q.settle()
	return aborts, why
}

func (q *Queue) abortSent(cid uint16) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := &q.trackers[cid&cidIndexMask]; t.cid == cid && t.state == trackerSent {
		t.expired = aborting
	}
}

// maxAborts bounds the abort commands at a time; the controller's limit may be lower.
const maxAborts = 4

// sendAbort asks the controller to give a command up; false when it has enough to abort already. Whatever it answers, the
// command itself is completed, or the reset that follows ends it.
func (c *Controller) sendAbort(sqid, cid uint16) bool {
	if c.aborting >= min(int(c.ident.Load().ACL)+1, maxAborts) {
		return false
	}
	k := &call{answer: func(*call) { c.aborting-- }}
	k.reset(spec.Command{Opcode: spec.AdminAbort, CDW10: uint32(sqid) | uint32(cid)<<16})
	if !c.submitCall(k) {
		return false
	}
	c.aborting++
	return true
}

// sendKeepAlive resets the controller's timer; the answer is not waited for, but the next one is only sent after it.
func (c *Controller) sendKeepAlive() {
	if c.alivePending {
		c.reset(fmt.Errorf("keep alive was not answered for %v: %w", c.now-c.alive, ErrTimeout))
		return
	}
	c.alive = c.now
	k := &c.keepAlive
	k.answer = func(*call) { c.alivePending = false }
	k.reset(spec.Command{Opcode: spec.AdminKeepAlive})
	c.alivePending = c.submitCall(k)
}

// maxAsyncs is how many asynchronous event requests the driver has outstanding; the controller's limit may be lower.
const maxAsyncs = 4

// postAsyncs gives the controller requests to answer when something happens.
func (c *Controller) postAsyncs() {
	n := min(int(c.ident.Load().AERL)+1, maxAsyncs)
	for c.asyncs < n {
		k := &call{answer: c.asyncEvent}
		k.reset(spec.Command{Opcode: spec.AdminAsyncEvent})
		if !c.submitCall(k) {
			return
		}
		c.asyncs++
	}
}

// asyncEvent is the answer to one of them.
func (c *Controller) asyncEvent(k *call) {
	c.asyncs--
	if k.req.Err != nil {
		return // a reset took it, or the controller wants no more
	}
	e := spec.AsyncEvent(k.dword())
	switch {
	case e.Type() == spec.EventError:
		c.event(Event{Kind: EventError, Raw: e})
	case e.Type() == spec.EventHealth:
		c.event(Event{Kind: EventHealth, Raw: e})
	case e.Type() == spec.EventNotice && e.Info() == spec.NoticeNamespace:
		c.rescan = true
	case e.Type() == spec.EventNotice && e.Info() == spec.NoticeFirmware:
		c.event(Event{Kind: EventFirmware, Raw: e})
	default:
		c.event(Event{Kind: EventOther, Raw: e})
	}
	if c.state == stateRunning {
		c.postAsyncs()
	}
}
