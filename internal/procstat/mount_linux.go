package procstat

import (
	"os"
	"path/filepath"
	"strings"
)

// MountOf returns the file system that holds an existing path.
func MountOf(path string) (Mount, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Mount{}, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return Mount{}, err
	}
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Mount{}, err
	}
	m, err := parseMountinfo(mountinfo, path)
	if err == nil && m.Type == "ext4" {
		m.Journal = ext4Journal("/proc/fs", path)
	}
	return m, err
}

// ext4Journal looks for the running journal thread of an ext4: /proc/fs/jbd2/<disk>-<inode or 8> is there exactly while
// a journal is in use. The disk is found under /proc/fs/ext4, so that an unknown disk is told from one without a journal.
func ext4Journal(procfs, path string) string {
	disk, err := DiskOf(path)
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(procfs, "ext4", disk.Name)); err != nil {
		return ""
	}
	return journalOfDisk(procfs, disk.Name)
}

func journalOfDisk(procfs, disk string) string {
	entries, err := os.ReadDir(filepath.Join(procfs, "jbd2"))
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if name, _, ok := cutLast(e.Name(), "-"); ok && name == disk {
			return "journal"
		}
	}
	return "no journal"
}

// cutLast splits at the last separator, for disks with a dash in their names (dm-0).
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
