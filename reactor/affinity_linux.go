package reactor

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// pinThread restricts the calling thread to the given CPUs.
func pinThread(cpus []int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
		if !set.IsSet(cpu) {
			return fmt.Errorf("%w: CPU %d is out of range", ErrPin, cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("%w to CPUs %v: %w", ErrPin, cpus, err)
	}
	return nil
}
