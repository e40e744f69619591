package bdev

import (
	"sync"
	"sync/atomic"
)

const (
	gateOpen = iota
	gateHeld // a reset is under way: requests wait
	gateClosed
)

// gate is what every request passes. While it is open that costs one load.
type gate struct {
	state   atomic.Int32
	mu      sync.Mutex // guards changes of state
	changed sync.Cond  // mu
}

func (g *gate) init() { g.changed.L = &g.mu }

func (g *gate) isOpen() bool { return g.state.Load() == gateOpen }

// pass waits until the gate opens; ErrClosed when it never will.
func (g *gate) pass() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.state.Load() == gateHeld {
		g.changed.Wait()
	}
	if g.state.Load() == gateClosed {
		return ErrClosed
	}
	return nil
}

// hold shuts the gate for a while. One holder at a time; the others wait.
func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.state.Load() == gateHeld {
		g.changed.Wait()
	}
	if g.state.Load() == gateOpen {
		g.state.Store(gateHeld)
	}
}

// release ends hold.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.Load() == gateHeld {
		g.state.Store(gateOpen)
	}
	g.changed.Broadcast()
}

// close shuts the gate for ever. A reset under way ends first.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.state.Load() == gateHeld {
		g.changed.Wait()
	}
	g.state.Store(gateClosed)
	g.changed.Broadcast()
}
