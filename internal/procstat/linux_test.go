//go:build linux

package procstat

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// burn uses CPU until the process clock has moved by d.
func burn(t *testing.T, d time.Duration) {
	start, err := ProcessCPU()
	require.NoError(t, err)
	for x := 1; ; x++ {
		if now, err := ProcessCPU(); err != nil || now-start >= d {
			require.NoError(t, err)
			return
		}
	}
}

// TestMachineCPUCoversThisProcess: the machine has used what this process has, and a second of it is at most a second of
// each processor.
func TestMachineCPUCoversThisProcess(t *testing.T) {
	begun := time.Now()
	before, err := MachineCPU()
	require.NoError(t, err)
	burn(t, 100*time.Millisecond)
	after, err := MachineCPU()
	require.NoError(t, err)
	stat, err := os.ReadFile("/proc/stat")
	require.NoError(t, err)
	_, cpus, err := parseMachineIdle(stat)
	require.NoError(t, err)
	const rounding = 40 * time.Millisecond // ticks
	require.GreaterOrEqual(t, after-before, 100*time.Millisecond-rounding)
	require.LessOrEqual(t, after-before, time.Duration(cpus)*time.Since(begun)+rounding)
}

func TestMemoryFigures(t *testing.T) {
	total, err := MemoryTotal()
	require.NoError(t, err)
	available, err := MemoryAvailable()
	require.NoError(t, err)
	rss, err := ProcessRSS()
	require.NoError(t, err)
	require.Greater(t, total, available)
	require.Greater(t, available, int64(0))
	require.Greater(t, rss, int64(1<<20))
	require.Less(t, rss, total)
	require.Contains(t, Kernel(), "Linux ")
}

func TestMountOfTempFolder(t *testing.T) {
	m, err := MountOf(t.TempDir())
	require.NoError(t, err)
	require.NotEmpty(t, m.Type)
	require.NotEmpty(t, m.Options)
	_, err = MountOf(filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestJournalOfDisk(t *testing.T) {
	procfs := t.TempDir()
	require.Equal(t, "", journalOfDisk(procfs, "vda"), "no jbd2 at all tells nothing")
	require.NoError(t, os.MkdirAll(filepath.Join(procfs, "jbd2", "dm-0-8"), 0o755))
	require.Equal(t, "journal", journalOfDisk(procfs, "dm-0"))
	require.Equal(t, "no journal", journalOfDisk(procfs, "dm"))
}

func TestDropFilesForgetsPages(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	require.NoError(t, os.WriteFile(name, make([]byte, 1<<20), 0o600))
	require.NoError(t, SyncFS(dir))
	require.NoError(t, DropFiles(dir))
	require.NoError(t, DropFiles(name))
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Len(t, got, 1<<20)
}

func TestMemoryHierarchy(t *testing.T) {
	for _, c := range []struct{ self, dir, limit string }{
		{"9:name=systemd:/\n4:memory:/a/b\n0::/\n", "/cg/memory/a/b", "memory.limit_in_bytes"},
		{"0::/user.slice/x\n", "/cg/user.slice/x", "memory.max"},
		{"4:cpu:/a\n", "", ""},
		{"garbage", "", ""},
	} {
		dir, limit := memoryHierarchy("/cg", c.self)
		require.Equal(t, c.dir, dir, c.self)
		require.Equal(t, c.limit, limit, c.self)
	}
}

// A folder that no cgroup controller watches has no control files: the group is refused and nothing is left behind.
func TestMemoryGroupRefusedLeavesNothing(t *testing.T) {
	root := t.TempDir()
	self := filepath.Join(root, "self")
	require.NoError(t, os.WriteFile(self, []byte("0::/me\n"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(root, "me"), 0o755))
	_, err := newMemoryGroup(root, self, "kvbench-1", 1<<20)
	require.ErrorContains(t, err, "not controlled")
	require.NoDirExists(t, filepath.Join(root, "me", "kvbench-1"))

	_, err = newMemoryGroup(root, filepath.Join(root, "missing"), "x", 1)
	require.ErrorIs(t, err, ErrUnsupported)
}

func TestMemoryGroupCountsKills(t *testing.T) {
	for name, text := range map[string]string{
		"memory.events":      "low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\noom_group_kill 0\n",
		"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
	} {
		g := &MemoryGroup{dir: t.TempDir()}
		_, err := g.Kills()
		require.ErrorIs(t, err, ErrUnsupported)
		require.NoError(t, os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o600))
		n, err := g.Kills()
		require.NoError(t, err)
		require.EqualValues(t, 2, n, name)
	}
	_, err := parseKills("oom_kill_disable 0\n")
	require.ErrorIs(t, err, ErrUnsupported)
}
