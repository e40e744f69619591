package procstat

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// tick is the unit of /proc/stat: USER_HZ is 100 in the ABI of every architecture Go runs on.
const tick = 10 * time.Millisecond

// otherFields are the columns of the "cpu" line of /proc/stat in which no processor works for this machine: idle, iowait,
// which is idle too, and steal, which is another guest's.
var otherFields = [...]int{3, 4, 7}

// parseMachineIdle sums the time in which processors did not work, from the contents of /proc/stat, and counts them.
func parseMachineIdle(stat []byte) (idle time.Duration, cpus int, err error) {
	line, rest, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, 0, fmt.Errorf("procstat: first line of /proc/stat is %q, expected cpu and eight counters", line)
	}
	var ticks int64
	for _, i := range otherFields {
		n, err := strconv.ParseInt(string(fields[i+1]), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("procstat: /proc/stat: %w", err)
		}
		ticks += n
	}
	for bytes.HasPrefix(rest, []byte("cpu")) {
		_, rest, _ = bytes.Cut(rest, []byte("\n"))
		cpus++
	}
	if cpus == 0 {
		return 0, 0, fmt.Errorf("procstat: /proc/stat names no processor: %w", ErrUnsupported)
	}
	return time.Duration(ticks) * tick, cpus, nil
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
