//go:build unix

package procstat

import (
	"time"

	"golang.org/x/sys/unix"
)

// ProcessCPU returns the user and system CPU time this process has used, all threads together.
func ProcessCPU() (time.Duration, error) {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return 0, err
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), nil
}
