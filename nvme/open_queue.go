package nvme

import (
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/nvme/spec"
)

// QueueOptions of OpenQueue.
type QueueOptions struct {
	// EventFD is an eventfd(2) of the caller that completions signal through an interrupt; 0 is none, then completions are
	// only found by Poll.
	EventFD int
}

// OpenQueue makes an I/O queue pair. ErrNoQueues when all that were granted are in use.
func (c *Controller) OpenQueue(o QueueOptions) (*Queue, error) {
	q, err := c.reserve(o)
	if err != nil {
		return nil, fmt.Errorf("%s: opening a queue: %w", c.Name(), err)
	}
	if err := q.create(); err != nil {
		return nil, joinErrors(fmt.Errorf("%s: opening queue %d: %w", c.Name(), q.id, err), q.remove())
	}
	return q, nil
}

// reserve finds an identifier and memory. From then on a reset creates the queue, too.
func (c *Controller) reserve(o QueueOptions) (*Queue, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == stateFailed || c.state == stateClosed {
		return nil, c.why
	}
	for id := uint16(1); int(id) <= c.granted; id++ {
		if _, used := c.queues[id]; used {
			continue
		}
		q, err := c.newQueue(id, c.layout)
		if err != nil {
			return nil, err
		}
		if q.event = o.EventFD; q.event != 0 {
			if err := c.interrupt(q); err != nil {
				return nil, joinErrors(err, q.release())
			}
		}
		c.queues[id] = q
		c.used += q.memory
		return q, nil
	}
	return nil, fmt.Errorf("%d: %w", c.granted, ErrNoQueues)
}

// interrupt gives the queue a vector of its own; vector 0 is the admin queue's.
func (c *Controller) interrupt(q *Queue) error {
	n := c.t.Vectors()
	if int(q.id) >= n {
		return fmt.Errorf("interrupt vector %d of %d: %w", q.id, n, ErrUnsupported)
	}
	q.vector = int(q.id)
	return c.t.Interrupt(q.vector, q.event)
}

// createCQ and createSQ are the commands that make the controller use the rings (base 2.0, sections 5.4 and 5.5).
func (q *Queue) createCQ() spec.Command {
	c := spec.Command{Opcode: spec.AdminCreateCQ, PRP1: q.cq.IOVA, CDW10: uint32(q.id) | (q.entries-1)<<16, CDW11: 1}
	if q.event != 0 {
		c.CDW11 |= 1<<1 | uint32(q.vector)<<16
	}
	return c
}

func (q *Queue) createSQ() spec.Command {
	return spec.Command{Opcode: spec.AdminCreateSQ, PRP1: q.sq.IOVA, CDW10: uint32(q.id) | (q.entries-1)<<16, CDW11: 1 | uint32(q.id)<<16}
}

// create makes the queue known to the controller. A reset in between creates it as well, so its loss is no error.
func (q *Queue) create() error {
	_, err := q.c.exchange(q.createCQ(), nil, q.c.o.AdminTimeout)
	if err == nil {
		_, err = q.c.exchange(q.createSQ(), nil, q.c.o.AdminTimeout)
	}
	if err == nil {
		q.resume()
		return nil
	}
	if !errors.Is(err, ErrReset) {
		return err
	}
	return q.c.settled()
}

// settled waits until a reset is over.
func (c *Controller) settled() error {
	for i := 0; ; i++ {
		c.mu.Lock()
		state, why := c.state, c.why
		c.mu.Unlock()
		switch state {
		case stateRunning:
			return nil
		case stateFailed, stateClosed:
			return why
		}
		c.idle(i)
	}
}

// Close deletes the queue pair. ErrInUse while requests are outstanding. No other goroutine uses the queue any more.
func (q *Queue) Close() error {
	q.mu.Lock()
	if q.mode == modeClosed {
		q.mu.Unlock()
		return fmt.Errorf("%s: closing queue %d: %w", q.c.Name(), q.id, ErrClosed)
	}
	if q.live > 0 {
		defer q.mu.Unlock()
		return fmt.Errorf("%s: closing queue %d with %d requests: %w", q.c.Name(), q.id, q.live, ErrInUse)
	}
	q.mode, q.why = modeClosed, ErrClosed
	q.late.Store(1)
	q.mu.Unlock()
	return q.remove()
}

// remove deletes the queue pair on the controller and gives its memory back. The identifier stays taken until then. A
// controller that was reset meanwhile, or does not work, does not use the memory any more.
func (q *Queue) remove() error {
	c := q.c
	q.stop(modeClosed, ErrClosed)
	_ = c.settled() // a controller that failed needs no deleting
	c.mu.Lock()
	if _, there := c.queues[q.id]; !there {
		c.mu.Unlock()
		return nil // Controller.Close released it
	}
	c.queues[q.id] = nil
	c.mu.Unlock()
	for _, opcode := range []uint8{spec.AdminDeleteSQ, spec.AdminDeleteCQ} {
		// Refused is as good: then there is no such queue, as after a reset.
		_, _ = c.exchange(spec.Command{Opcode: opcode, CDW10: uint32(q.id)}, nil, c.o.AdminTimeout)
	}
	var err error
	if q.event != 0 {
		err = c.t.Interrupt(q.vector, -1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err = joinErrors(err, q.release()); errors.Is(err, ErrGone) {
		err = nil
	}
	if _, there := c.queues[q.id]; there {
		delete(c.queues, q.id)
		c.used -= q.memory
	}
	return err
}
