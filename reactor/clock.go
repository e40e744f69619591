package reactor

import "time"

// Clock is a monotonic clock. Only stepped reactors take another one than the system's.
type Clock interface {
	// Now is the time since an arbitrary fixed origin.
	Now() time.Duration
}

// systemClock reads the monotonic clock of the operating system.
type systemClock struct{ origin time.Time }

func newSystemClock() systemClock { return systemClock{origin: time.Now()} }

func (c systemClock) Now() time.Duration { return time.Since(c.origin) }
