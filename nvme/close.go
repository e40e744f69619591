package nvme

import (
	"fmt"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Bounds of a shutdown: the controller says in RTD3E how long it takes (base 2.0, section 3.6.1).
const (
	minShutdown = 5 * time.Second
	maxShutdown = 30 * time.Second
)

// Close tells the controller to shut down, waits for it within a bound, stops it, fails what is outstanding with ErrClosed,
// and closes the transport. Queues need not be closed before, but no goroutine is in one of their methods.
func (c *Controller) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.close(); err != nil {
		return fmt.Errorf("%s: closing: %w", c.Name(), err)
	}
	return nil
}

func (c *Controller) close() error {
	if c.state == stateClosed {
		return fmt.Errorf("a second time: %w", ErrClosed)
	}
	var err error
	if c.state != stateFailed {
		err = c.shutDown()
	}
	c.state, c.why = stateClosed, fmt.Errorf("%w: %w", ErrGone, ErrClosed)
	c.boot.stop()
	c.scan.stop()
	c.stopQueues(modeClosed, c.why)
	for _, q := range c.queues {
		if q != nil {
			q.late.Store(1)
		}
	}
	err = joinErrors(err, c.releaseAll())
	clear(c.queues)
	return joinErrors(err, c.t.Close())
}

// shutDown has the controller write back what it caches, and stops it.
func (c *Controller) shutDown() error {
	v, err := c.t.Load32(spec.RegCC)
	if err != nil || v == spec.AllOnes {
		return nil // it has left
	}
	cc := spec.CC(v)
	if cc.EN() && c.state == stateRunning {
		limit := minShutdown
		if id := c.ident.Load(); id != nil {
			limit = min(max(limit, time.Duration(id.RTD3E)*time.Microsecond), maxShutdown)
		}
		if err = c.t.Store32(spec.RegCC, uint32(cc.WithSHN(spec.SHNNormal))); err == nil {
			err = c.await("shutdown", limit, func(s spec.CSTS) bool { return s.SHST() == spec.SHSTComplete })
		}
	}
	if stop := c.t.Store32(spec.RegCC, uint32(cc.WithSHN(spec.SHNNone)&^spec.CCEnable)); stop != nil {
		return joinErrors(err, stop)
	}
	if delay := c.quirks.disableDelay(); delay > 0 {
		c.o.Clock.Sleep(delay)
	}
	return joinErrors(err, c.await("stopping", c.readyTimeout(), func(s spec.CSTS) bool { return !s.RDY() }))
}

// await waits for the status to be as wanted. A controller that leaves meanwhile is as good.
func (c *Controller) await(what string, limit time.Duration, done func(spec.CSTS) bool) error {
	deadline := c.o.Clock.Now() + limit
	for i := 0; ; i++ {
		s, err := c.status()
		if err != nil || done(s) {
			return nil
		}
		if c.o.Clock.Now() >= deadline {
			return fmt.Errorf("%s, CSTS %#x after %v: %w", what, uint32(s), limit, ErrTimeout)
		}
		c.o.Clock.Sleep(time.Duration(min(i, 10)) * 100 * time.Microsecond)
	}
}
