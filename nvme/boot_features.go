package nvme

import (
	"fmt"
	"slices"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// This file has the second half of a boot: everything after the queues were granted.

// bootShadow offers shadow doorbells (base 2.0, section 5.8), which spare a controller in software most register writes.
func (c *Controller) bootShadow() error {
	id := c.ident.Load()
	stride := uint64(4) << c.cap.DSTRD()
	if id.OACS&spec.OACSDBBUF == 0 || c.o.NoShadowDoorbells || uint64(c.granted+1)*2*stride > pageSize {
		return c.bootWithoutShadow()
	}
	clear(c.shadow.Bytes)
	clear(c.eventIdx.Bytes)
	cmd := spec.Command{Opcode: spec.AdminDoorbellBuffer, PRP1: c.shadow.IOVA, PRP2: c.eventIdx.IOVA}
	return c.boot.ask("configuring shadow doorbells", cmd, func() error {
		c.hasShadow = c.boot.call.req.Err == nil
		return c.bootDelays()
	}, tolerate)
}

func (c *Controller) bootWithoutShadow() error {
	c.hasShadow = false
	return c.bootDelays()
}

// bootDelays says that command retry delays are honoured (feature host behavior support, ACRE).
func (c *Controller) bootDelays() error {
	if c.retryDelays == [4]time.Duration{} {
		return c.bootEvents()
	}
	page := c.boot.call.data
	clear(page.Bytes)
	page.Bytes[0] = 1
	cmd := spec.Command{Opcode: spec.AdminSetFeatures, CDW10: spec.FeatHostBehavior, PRP1: page.IOVA}
	return c.boot.ask("announcing retry delays", cmd, c.bootEvents, tolerate)
}

// bootEvents asks for the events that the driver acts on, or passes on.
func (c *Controller) bootEvents() error {
	mask := c.ident.Load().OAES & (spec.OAESNamespace | spec.OAESFirmware)
	mask |= spec.WarnSpare | spec.WarnTemperature | spec.WarnReliability | spec.WarnReadOnly | spec.WarnVolatileFail
	cmd := spec.Command{Opcode: spec.AdminSetFeatures, CDW10: spec.FeatAsyncEvents, CDW11: mask}
	return c.boot.ask("choosing asynchronous events", cmd, c.bootKeepAlive, tolerate)
}

// bootKeepAlive sets the timer after which the controller gives a silent host up, to twice the interval.
func (c *Controller) bootKeepAlive() error {
	if c.o.KeepAlive <= 0 || c.ident.Load().KAS == 0 {
		return c.bootCache()
	}
	cmd := spec.Command{Opcode: spec.AdminSetFeatures, CDW10: spec.FeatKeepAlive, CDW11: uint32(2 * c.o.KeepAlive.Milliseconds())}
	return c.boot.ask("setting the keep alive timer", cmd, func() error {
		c.keepsAlive = c.boot.call.req.Err == nil
		c.alive = c.now
		return c.bootCache()
	}, tolerate)
}

// bootCache looks whether the volatile write cache is on.
func (c *Controller) bootCache() error {
	c.writeCache = false
	if c.ident.Load().VWC&spec.VWCPresent == 0 {
		return c.bootScan()
	}
	cmd := spec.Command{Opcode: spec.AdminGetFeatures, CDW10: spec.FeatWriteCache}
	return c.boot.ask("reading the state of the write cache", cmd, func() error {
		// A controller that does not say is taken to have it on: a flush too many is no harm.
		c.writeCache = c.boot.call.req.Err != nil || c.boot.call.dword()&1 != 0
		return c.bootScan()
	}, tolerate)
}

// bootScan identifies the namespaces.
func (c *Controller) bootScan() error {
	if err := c.beginScan(false); err != nil {
		return err
	}
	scanned := func() (bool, error) {
		err := c.scan.advance()
		return !c.scan.running(), err
	}
	// Its own deadline comes before this one, and says more.
	return c.boot.wait("identifying namespaces", 2*scanTimeouts*c.o.AdminTimeout, scanned, c.bootIOQueues)
}

// bootIOQueues creates the I/O queues that were open before a reset.
func (c *Controller) bootIOQueues() error {
	c.boot.pending = c.boot.pending[:0]
	for id, q := range c.queues {
		if q != nil {
			c.boot.pending = append(c.boot.pending, id)
		}
	}
	slices.Sort(c.boot.pending)
	return c.bootNextQueue()
}

func (c *Controller) bootNextQueue() error {
	if len(c.boot.pending) == 0 {
		return c.bootDone()
	}
	q := c.queues[c.boot.pending[0]]
	c.boot.pending = c.boot.pending[1:]
	if int(q.id) > c.granted {
		q.stop(modeFailed, fmt.Errorf("queue %d after a reset, %d are granted: %w", q.id, c.granted, ErrNoQueues))
		return c.bootNextQueue()
	}
	if q.event != 0 {
		if err := c.t.Interrupt(q.vector, q.event); err != nil {
			return err
		}
	}
	q.rewind()
	return c.boot.ask(fmt.Sprintf("creating completion queue %d", q.id), q.createCQ(), func() error {
		return c.boot.ask(fmt.Sprintf("creating submission queue %d", q.id), q.createSQ(), c.bootNextQueue, nil)
	}, nil)
}

// bootDone lets requests through.
func (c *Controller) bootDone() error {
	resetting := c.state == stateResetting
	c.state, c.why = stateRunning, nil
	c.boot.attempts = 0
	c.looked = c.now
	c.postAsyncs()
	for _, q := range c.queues {
		if q != nil {
			q.resume()
		}
	}
	if resetting {
		c.event(Event{Kind: EventReset})
	}
	return nil
}
