package procstat

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MemoryGroup is a memory cgroup made for one child process: it bounds the memory of the process together with the page
// cache that its I/O fills.
type MemoryGroup struct {
	dir string
}

// NewMemoryGroup makes a cgroup below this process's own one, limited to so many bytes. Below its own, because whatever
// already limits this process must hold for its children too. An error means that it is not permitted or not there.
func NewMemoryGroup(name string, limitBytes int64) (*MemoryGroup, error) {
	return newMemoryGroup("/sys/fs/cgroup", "/proc/self/cgroup", name, limitBytes)
}

func newMemoryGroup(root, selfFile, name string, limitBytes int64) (*MemoryGroup, error) {
	self, err := os.ReadFile(selfFile)
	if err != nil {
		return nil, errors.Join(ErrUnsupported, err)
	}
	parent, limitFile := memoryHierarchy(root, string(self))
	if parent == "" {
		return nil, fmt.Errorf("procstat: no memory cgroup in %s: %w", selfFile, ErrUnsupported)
	}
	g := &MemoryGroup{dir: filepath.Join(parent, name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	if err := writeControl(filepath.Join(g.dir, limitFile), limitBytes); err != nil {
		return nil, errors.Join(fmt.Errorf("procstat: memory is not controlled in %s: %w", parent, err), g.Close())
	}
	return g, nil
}

// memoryHierarchy returns the folder of this process's memory cgroup and the name of the file that limits one: cgroup
// v1 where its memory controller is mounted, v2 otherwise.
func memoryHierarchy(root, self string) (dir, limitFile string) {
	for line := range strings.Lines(self) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[1] == "memory" || strings.HasPrefix(fields[1], "memory,"):
			return filepath.Join(root, "memory", fields[2]), "memory.limit_in_bytes"
		case fields[0] == "0" && fields[1] == "":
			dir, limitFile = filepath.Join(root, fields[2]), "memory.max"
		}
	}
	return dir, limitFile
}

// Add moves a process into the group. Memory it already has stays charged where it was.
func (g *MemoryGroup) Add(pid int) error {
	return writeControl(filepath.Join(g.dir, "cgroup.procs"), int64(pid))
}

// Kills returns how many processes of the group the kernel has killed because the limit left it no other way.
func (g *MemoryGroup) Kills() (int64, error) {
	for _, name := range []string{"memory.events", "memory.oom_control"} { // of cgroup v2 and v1
		text, err := os.ReadFile(filepath.Join(g.dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return parseKills(string(text))
	}
	return 0, fmt.Errorf("procstat: %s counts no kills: %w", g.dir, ErrUnsupported)
}

// parseKills finds the counter of kills among lines of a name and a number.
func parseKills(text string) (int64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("procstat: no oom_kill in %q: %w", text, ErrUnsupported)
}

// Close removes the group. No process may be in it any more.
func (g *MemoryGroup) Close() error {
	return os.Remove(g.dir)
}

// writeControl writes to a control file the kernel has made; a folder that is no cgroup has none.
func writeControl(name string, value int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.FormatInt(value, 10))
	return errors.Join(err, f.Close())
}
