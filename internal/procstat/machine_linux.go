package procstat

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// MachineCPU returns the CPU time the whole machine has been busy since boot, kernel threads included, in steps of 10 ms.
func MachineCPU() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseMachineCPU(stat)
}

// MemoryAvailable returns the bytes the kernel could still give to processes, which is also what its page cache may grow to.
func MemoryAvailable() (int64, error) {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return parseMeminfo(meminfo, "MemAvailable")
}

// MemoryTotal returns the bytes of memory of the machine.
func MemoryTotal() (int64, error) {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return parseMeminfo(meminfo, "MemTotal")
}

// ProcessRSS returns the bytes of memory resident in this process.
func ProcessRSS() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	return parseStatus(status, "VmRSS")
}

// CPUModel returns the processor's name, "" when it is not known.
func CPUModel() string {
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	return parseCPUModel(cpuinfo)
}

// Kernel returns the kernel's name and release, such as "Linux 6.12.9".
func Kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "Linux"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}
