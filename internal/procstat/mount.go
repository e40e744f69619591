package procstat

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Mount is a mounted file system.
type Mount struct {
	Point   string // where it is mounted
	Type    string // "ext4"
	Source  string // "/dev/vda1"
	Options string // of the mount and of the file system, comma separated
	Journal string // "journal", "no journal", or what takes its place; "" when it is not known
	RAM     bool   // the files lie in memory: tmpfs, ramfs
}

// String names the file system the way a report does: type, source, journal and mount options.
func (m Mount) String() string {
	parts := []string{m.Type}
	if m.Source != "" && m.Source != m.Type {
		parts[0] += " on " + m.Source
	}
	if m.Journal != "" {
		parts = append(parts, m.Journal)
	}
	if m.Options != "" {
		parts = append(parts, m.Options)
	}
	return strings.Join(parts, ", ")
}

// parseMountinfo finds the mount that holds an absolute, clean path: the last of the longest mount points above it, for
// a later mount covers an earlier one at the same place.
func parseMountinfo(mountinfo []byte, path string) (Mount, error) {
	var best Mount
	for line := range bytes.Lines(mountinfo) {
		m, ok := parseMountLine(string(line))
		if ok && holds(m.Point, path) && len(m.Point) >= len(best.Point) {
			best = m
		}
	}
	if best.Point == "" {
		return Mount{}, fmt.Errorf("procstat: no mount holds %s", path)
	}
	return best, nil
}

// parseMountLine reads "id parent major:minor root point options [tag ...] - type source superoptions".
func parseMountLine(line string) (Mount, bool) {
	left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !ok || len(l) < 6 || len(r) < 3 {
		return Mount{}, false
	}
	m := Mount{Point: unescape(l[4]), Type: r[0], Source: unescape(r[1]), Options: mergeOptions(l[5], r[2])}
	m.RAM = m.Type == "tmpfs" || m.Type == "ramfs" || m.Type == "devtmpfs"
	m.Journal = journalByType(m.Type)
	return m, true
}

// journalByType says what every file system of a type has; ext4 depends on how it was made and is looked up apart.
func journalByType(fsType string) string {
	switch fsType {
	case "xfs", "ext3", "jfs", "reiserfs":
		return "journal"
	case "ext2", "tmpfs", "ramfs", "vfat", "exfat":
		return "no journal"
	case "btrfs", "zfs", "bcachefs", "f2fs":
		return "copy on write, log"
	}
	return ""
}

// holds says whether path is the mount point or lies below it.
func holds(point, path string) bool {
	if point == "/" || point == path {
		return true
	}
	return strings.HasPrefix(path, point+string(filepath.Separator))
}

// mergeOptions joins the mount's and the file system's options, each once, in order.
func mergeOptions(mount, super string) string {
	var out []string
	seen := map[string]bool{}
	for _, o := range strings.Split(mount+","+super, ",") {
		if o != "" && !seen[o] {
			seen[o] = true
			out = append(out, o)
		}
	}
	return strings.Join(out, ",")
}

// unescape undoes the octal escapes (space, tab, newline, backslash) of the fields in mountinfo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
