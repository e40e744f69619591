package procstat

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// tick is the unit of /proc/stat: USER_HZ is 100 in the ABI of every architecture Go runs on.
const tick = 10 * time.Millisecond

// busyFields are the columns of the "cpu" line of /proc/stat that are work of this machine: user, nice, system, irq,
// softirq. Left out are idle, iowait, steal (another guest's work) and guest (already inside user).
var busyFields = [...]int{0, 1, 2, 5, 6}

// parseMachineCPU sums the busy time of all CPUs from the contents of /proc/stat.
func parseMachineCPU(stat []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 8 || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf("procstat: first line of /proc/stat is %q, expected cpu and seven counters", line)
	}
	var ticks int64
	for _, i := range busyFields {
		n, err := strconv.ParseInt(string(fields[i+1]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("procstat: /proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// parseMeminfo returns the value in bytes of one line of /proc/meminfo, such as "MemAvailable".
func parseMeminfo(meminfo []byte, name string) (int64, error) {
	for line := range bytes.Lines(meminfo) {
		key, rest, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(key) != name {
			continue
		}
		value, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
		kib, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("procstat: /proc/meminfo: %s: %w", name, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("procstat: /proc/meminfo has no %s", name)
}

// parseStatus returns the value in bytes of one line of /proc/self/status, such as "VmRSS"; the format is meminfo's.
func parseStatus(status []byte, name string) (int64, error) {
	return parseMeminfo(status, name)
}

// parseCPUModel finds the first processor's name in /proc/cpuinfo; "" where the architecture does not print one.
func parseCPUModel(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		key, value, ok := bytes.Cut(line, []byte(":"))
		if ok && string(bytes.TrimSpace(key)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
