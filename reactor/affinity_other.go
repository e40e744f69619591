//go:build !linux

package reactor

import (
	"fmt"
	"runtime"
)

// pinThread refuses: there is no portable call.
func pinThread(cpus []int) error {
	return fmt.Errorf("%w to CPUs %v: not supported on %s", ErrPin, cpus, runtime.GOOS)
}
