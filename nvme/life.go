package nvme

import (
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/nvme/spec"
)

// This file has what happens to queues and their requests when the controller is reset, fails or is closed.

// reset begins a reset, unless one is under way. It is called with Controller.mu held.
func (c *Controller) reset(why error) {
	if c.state == stateStarting || c.state == stateResetting || c.state == stateClosed {
		return
	}
	c.state, c.why = stateResetting, why
	c.resets++
	c.event(Event{Kind: EventResetting, Err: why})
	c.admin.pause()
	for _, q := range c.queues {
		if q != nil {
			q.pause()
		}
	}
	c.scan.stop()
	c.boot.attempts = 0
	if err := c.start(); err != nil {
		c.bootFailed(err)
	}
}

// bootFailed tries once more, after a reset of the whole function where the transport can do that, or gives up.
func (c *Controller) bootFailed(err error) {
	c.boot.stop()
	c.scan.stop()
	for !errors.Is(err, ErrGone) && c.boot.attempts < maxAttempts {
		if reset := c.t.Reset(); reset != nil && (!c.boot.stopped || c.state == stateStarting) {
			break
		}
		again := c.start()
		if again == nil {
			return
		}
		err = fmt.Errorf("%w; and the second time: %w", err, again)
	}
	c.fail(err)
}

// fail makes the controller unusable and ends what is outstanding. Where the controller could not even be stopped it may
// still write to buffers: they are safe to use again once they are unregistered, or after Close.
func (c *Controller) fail(err error) {
	if !errors.Is(err, ErrGone) {
		err = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	c.state, c.why = stateFailed, err
	c.boot.stop()
	c.scan.stop()
	c.event(Event{Kind: EventFailed, Err: err})
	c.stopQueues(modeFailed, err)
}

func (c *Controller) stopQueues(mode queueMode, why error) {
	for _, q := range c.queues {
		if q != nil {
			q.stop(mode, why)
		}
	}
	c.admin.stop(mode, why)
	c.pollAdmin()
}

// salvage decides, once the controller has stopped, what becomes of the commands that it had.
func (c *Controller) salvage() {
	c.admin.salvage()
	c.admin.rewind()
	c.pollAdmin()
	for _, q := range c.queues {
		if q != nil {
			q.salvage()
		}
	}
}

// pause keeps commands back.
func (q *Queue) pause() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mode != modeClosed {
		q.mode = modePaused
	}
}

// resume lets commands through: first those that are sent again, then those that waited.
func (q *Queue) resume() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mode == modePaused {
		q.mode, q.why, q.fault = modeRunning, nil, nil
		q.pump()
		q.settle()
	}
}

// salvage takes what was completed before the controller stopped, puts commands that may be repeated in line to be sent
// again, and fails the others.
func (q *Queue) salvage() {
	q.mu.Lock()
	defer q.mu.Unlock()
	var done [1]*Request
	for q.reap(done[:]) > 0 {
		q.finish(done[0])
	}
	q.fault = nil
	for i := range q.trackers {
		t := &q.trackers[i]
		if t.state != trackerSent {
			continue
		}
		q.sent--
		if q.repeatable(t) {
			t.tries++
			q.stats.Retries++
			t.state, t.since = trackerReady, 0
			q.resend = append(q.resend, uint16(i))
			continue
		}
		err := ErrReset
		if t.expired != inTime {
			err = fmt.Errorf("%w after %v, and an abort did not help: %w", ErrTimeout, q.c.o.IOTimeout, ErrReset)
		}
		q.lose(t, err)
	}
	q.settle()
}

// repeatable tells whether a command may be carried out twice with the same effect.
func (q *Queue) repeatable(t *tracker) bool {
	r := t.req
	if q.id == 0 || t.expired != inTime || int(t.tries) >= q.c.o.Retries || r.Flags&FlagNoRetry != 0 {
		return false
	}
	return r.state.kind == kindData || r.state.kind == kindRange || r.state.kind == kindTrim || r.Op == OpFlush
}

// lose ends a command with an error of the driver. It is called with mu held.
func (q *Queue) lose(t *tracker, err error) {
	r := t.req
	if r.state.err == nil {
		r.state.err = r.explain(err)
		if q.id == 0 {
			r.state.err = fmt.Errorf("%s: %w", spec.AdminName(t.cmd.Opcode), err)
		}
	}
	if r := q.done(t); r != nil {
		q.finish(r)
	}
}

// stop ends everything that the queue has.
func (q *Queue) stop(mode queueMode, why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mode, q.why = mode, why
	q.resend = q.resend[:0]
	for i := range q.trackers {
		if t := &q.trackers[i]; t.state != trackerFree {
			q.lose(t, why)
		}
	}
	q.sent = 0
	for r := q.backlog.pop(); r != nil; r = q.backlog.pop() {
		if r.state.err == nil {
			r.state.err = r.explain(why)
		}
		r.state.left = 0
		q.finish(r)
	}
	q.settle()
}
