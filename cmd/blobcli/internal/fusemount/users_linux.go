package fusemount

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxUsers is how many processes a message names.
const maxUsers = 5

// byWhom names processes that use the mount, as far as this user may see, for the end of a message.
func byWhom(dir string) string {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return ""
	}
	var names []string
	for _, p := range processes {
		if len(names) < maxUsers && uses(p, dir) {
			names = append(names, processName(p))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " by " + strings.Join(names, ", ")
}

// uses says whether a process has something below dir open or is there. Links are read, never followed: they could lead
// back to this very mount.
func uses(process, dir string) bool {
	for _, link := range []string{"cwd", "root", "exe"} {
		if leadsInto(filepath.Join(process, link), dir) {
			return true
		}
	}
	fds, err := os.ReadDir(filepath.Join(process, "fd"))
	if err != nil {
		return false // not ours to see, or gone by now
	}
	for _, fd := range fds {
		if leadsInto(filepath.Join(process, "fd", fd.Name()), dir) {
			return true
		}
	}
	return false
}

func leadsInto(link, dir string) bool {
	target, err := os.Readlink(link)
	return err == nil && (target == dir || strings.HasPrefix(target, dir+"/"))
}

// processName reads "process 4711 (bash)".
func processName(process string) string {
	pid := filepath.Base(process)
	name, err := os.ReadFile(filepath.Join(process, "comm"))
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
}
