package procstat

import (
	"bytes"
	"fmt"
	"strconv"
)

// sectorSize is the unit of /proc/diskstats, whatever the disk's own block size is.
const sectorSize = 512

// DiskCounters are the bytes a disk has moved since boot, of every user of the disk.
type DiskCounters struct {
	ReadBytes  int64
	WriteBytes int64
}

// Sub returns what happened between an earlier reading and this one.
func (c DiskCounters) Sub(earlier DiskCounters) DiskCounters {
	return DiskCounters{c.ReadBytes - earlier.ReadBytes, c.WriteBytes - earlier.WriteBytes}
}

// Disk names a block device of the host by its device number.
type Disk struct {
	Major, Minor uint32
	Name         string // "vda1"
}

// parseDiskstats finds one device's line in /proc/diskstats: its name and counters.
func parseDiskstats(diskstats []byte, major, minor uint32) (string, DiskCounters, error) {
	for line := range bytes.Lines(diskstats) {
		f := bytes.Fields(line)
		if len(f) < 10 || !isNumber(f[0], major) || !isNumber(f[1], minor) {
			continue
		}
		read, errRead := strconv.ParseInt(string(f[5]), 10, 64)
		written, errWrite := strconv.ParseInt(string(f[9]), 10, 64)
		if errRead != nil || errWrite != nil {
			return "", DiskCounters{}, fmt.Errorf("procstat: /proc/diskstats: cannot read %q", line)
		}
		return string(f[2]), DiskCounters{read * sectorSize, written * sectorSize}, nil
	}
	return "", DiskCounters{}, fmt.Errorf("procstat: /proc/diskstats has no device %d:%d: %w", major, minor, ErrUnsupported)
}

func isNumber(field []byte, n uint32) bool {
	v, err := strconv.ParseUint(string(field), 10, 32)
	return err == nil && uint32(v) == n
}
