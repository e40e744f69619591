package bdev

import (
	"sync"
	"time"

	"github.com/blobkv/blobkv/reactor"
)

// backgroundPeriod is how often the reactor polls a channel on which only requests without a waiter are outstanding.
// Most of those are waited for soon after they were submitted, and their waiter polls at no extra cost.
const backgroundPeriod = 200 * time.Microsecond

// background is the reactor that polls for requests nobody waits for. Its pollers are armed only while there are any:
// an idle device costs no CPU, and one that never had such a request has no reactor.
type background struct {
	start sync.Once
	loop  *reactor.Reactor
}

// startBackground gives every shared channel a poller and starts the reactor.
func (d *Device) startBackground() {
	d.background.start.Do(func() {
		loop, err := reactor.Start(reactor.Options{Name: d.name, Mode: reactor.Sleep})
		if err != nil {
			return // only pinning can fail; without a reactor such requests wait for the next goroutine that polls
		}
		d.background.loop = loop
		for _, c := range d.shared {
			c.poller = loop.RegisterWith(reactor.PollerOptions{
				Name: d.name, Poll: c.pollBackground, Period: backgroundPeriod, Disarmed: true,
			})
		}
	})
}

// stop ends the reactor. Nothing is in flight and nothing can be submitted.
func (b *background) stop() {
	b.start.Do(func() {})
	if b.loop != nil {
		b.loop.Stop()
	}
}

// arm makes sure that somebody polls for requests without a waiter. The caller has counted its requests in async, or has
// just given the lead up.
func (c *shared) arm() {
	if c.async.Load() == 0 {
		return
	}
	c.dev.startBackground()
	if c.poller != nil {
		c.poller.Arm()
	}
}

// pollBackground is one look of the reactor. It disarms itself first and looks for work afterwards, so that a request
// counted in between is not left alone.
func (c *shared) pollBackground() (busy bool) {
	if c.async.Load() == 0 {
		c.poller.Disarm()
		c.arm()
		return false
	}
	if !c.tryLead() {
		return false // the leader polls for all
	}
	defer c.release()
	return c.poll() > 0
}
