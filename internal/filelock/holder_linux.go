package filelock

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// holder looks the owner of the flock on fd up in /proc/locks. It is called after the lock was refused, so the owner
// may be gone by now; then nobody is named.
func holder(fd uintptr) *HeldError {
	var st unix.Stat_t
	if err := unix.Fstat(int(fd), &st); err != nil {
		return &HeldError{}
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return &HeldError{}
	}
	defer f.Close()
	dev := uint64(st.Dev)
	pid := findOwner(bufio.NewScanner(f), unix.Major(dev), unix.Minor(dev), st.Ino)
	return &HeldError{PID: pid, Name: processName(pid)}
}

// findOwner returns the pid that holds the flock on an inode, or 0. Lines of /proc/locks look like
//
//	7: FLOCK  ADVISORY  WRITE 4711 fe:00:262155 0 EOF
//
// with the device in hexadecimal. File systems with several volumes (btrfs) list a device number that differs from
// stat's; an inode number that only one line carries is taken for ours then.
func findOwner(lines *bufio.Scanner, major, minor uint32, ino uint64) int {
	device := fmt.Sprintf("%02x:%02x", major, minor)
	inode := strconv.FormatUint(ino, 10)
	candidate, candidates := 0, 0
	for lines.Scan() {
		pid, at, ok := parseFlock(lines.Text())
		if !ok {
			continue
		}
		colon := strings.LastIndexByte(at, ':')
		if colon < 0 || at[colon+1:] != inode {
			continue
		}
		if at[:colon] == device {
			return pid
		}
		candidate, candidates = pid, candidates+1
	}
	if candidates != 1 {
		return 0
	}
	return candidate
}

// parseFlock takes pid and "major:minor:inode" out of one line; ok is false for other kinds of lock and for waiters,
// whose lines have "->" in the second column. A pid outside this process's namespace reads as 0 or less.
func parseFlock(line string) (pid int, at string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || f[1] != "FLOCK" {
		return 0, "", false
	}
	pid, err := strconv.Atoi(f[4])
	if err != nil || pid <= 0 {
		return 0, "", false
	}
	return pid, f[5], true
}

// processName returns the command name of a process, or "".
func processName(pid int) string {
	if pid == 0 {
		return ""
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
