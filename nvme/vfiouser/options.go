package vfiouser

import (
	"context"
	"time"
)

// Options of Open. The zero value is a good choice.
type Options struct {
	// Context ends Open early; nil is never. It means nothing afterwards.
	Context context.Context
	// HugePages puts DMA memory into huge pages, in units of 2 MiB. Open succeeds without any; Alloc fails then.
	HugePages bool
	// Timeout is how long the server may take to answer a message, or all of those of Open, 10 s when zero. A server that does not
	// is gone.
	Timeout time.Duration
}

const defaultTimeout = 10 * time.Second

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Context == nil {
		o.Context = context.Background()
	}
	return o
}

// ServerOptions of Listen. The zero value is a good choice.
type ServerOptions struct {
	// Spin is how long the server looks for work before it begins to sleep; 0 is 200 µs, negative is not at all.
	Spin time.Duration
	// MaxSleep bounds one sleep, and with it what a doorbell in memory can wait that no message follows; 0 is 50 ms. Sleeps grow with
	// the time without work: up to 2 ms within 0.2 s of it, and to 50 ms after 5 s.
	MaxSleep time.Duration
	// Timeout is how long a client may take to send its first message, to finish one, or to answer one; 0 is 5 s.
	Timeout time.Duration
	// Log is called with what an operator may want to know: clients that come, go and misbehave. It is called from Serve and must not
	// block; nil drops it.
	Log func(text string)
}

const (
	defaultSpin          = 200 * time.Microsecond
	defaultMaxSleep      = 50 * time.Millisecond
	defaultServerTimeout = 5 * time.Second
)

func (o ServerOptions) withDefaults() ServerOptions {
	if o.Spin == 0 {
		o.Spin = defaultSpin
	}
	if o.MaxSleep <= 0 {
		o.MaxSleep = defaultMaxSleep
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultServerTimeout
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	return o
}
