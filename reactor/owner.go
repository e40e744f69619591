package reactor

import "runtime"

// OnReactor reports whether the caller runs inside a callback of r. It costs about a microsecond.
func (r *Reactor) OnReactor() bool {
	owner := r.owner.Load()
	return owner != 0 && owner == goroutineID()
}

// own makes the calling goroutine the one that runs callbacks.
func (r *Reactor) own() { r.owner.Store(goroutineID()) }

func (r *Reactor) disown() { r.owner.Store(0) }

// goroutineID returns the number the runtime prints for the calling goroutine. Go offers no other way to tell
// goroutines apart; thread ids would do for locked threads, but not every supported system has a call for them.
// Only calls that would otherwise wait for themselves pay for it.
func goroutineID() uint64 {
	const prefix = len("goroutine ")
	var buf [64]byte
	n := runtime.Stack(buf[:], false)
	var id uint64
	for _, c := range buf[min(prefix, n):n] {
		if c < '0' || c > '9' {
			break
		}
		id = id*10 + uint64(c-'0')
	}
	return id
}
