package crashsim

import (
	"os"
	"runtime/pprof"
	"time"
)

// watch ends the process with the stacks of all goroutines unless it is stopped in time: what hangs cannot be left.
func watch(what string, patience time.Duration) (stop func()) {
	timer := time.AfterFunc(patience, func() {
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
		panic("crashsim: hangs: " + what)
	})
	return func() { timer.Stop() }
}
