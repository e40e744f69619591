//go:build !linux

package procstat

import (
	"runtime"
	"time"
)

// MachineCPU is not available here.
func MachineCPU() (time.Duration, error) { return 0, ErrUnsupported }

// MemoryAvailable is not available here.
func MemoryAvailable() (int64, error) { return 0, ErrUnsupported }

// MemoryTotal is not available here.
func MemoryTotal() (int64, error) { return 0, ErrUnsupported }

// ProcessRSS is not available here.
func ProcessRSS() (int64, error) { return 0, ErrUnsupported }

// CPUModel returns the processor's name, "" when it is not known.
func CPUModel() string { return "" }

// Kernel returns the operating system's name.
func Kernel() string { return runtime.GOOS }
