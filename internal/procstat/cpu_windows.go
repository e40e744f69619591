package procstat

import (
	"time"

	"golang.org/x/sys/windows"
)

// ProcessCPU returns the user and system CPU time this process has used, all threads together.
func ProcessCPU() (time.Duration, error) {
	var created, exited, kernel, user windows.Filetime
	err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &exited, &kernel, &user)
	if err != nil {
		return 0, err
	}
	return filetimeSpan(kernel) + filetimeSpan(user), nil
}

// filetimeSpan reads a Filetime that counts a span, in units of 100 ns, instead of a date.
func filetimeSpan(f windows.Filetime) time.Duration {
	return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
}
