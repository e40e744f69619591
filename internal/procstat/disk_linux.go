package procstat

import (
	"os"

	"golang.org/x/sys/unix"
)

// DiskOf returns the disk (or partition) that holds a path, or the block device that the path names. A file system
// without one, such as tmpfs or overlay, is ErrUnsupported.
func DiskOf(path string) (Disk, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Disk{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	dev := st.Dev
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		dev = st.Rdev
	}
	d := Disk{Major: unix.Major(uint64(dev)), Minor: unix.Minor(uint64(dev))}
	diskstats, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return Disk{}, err
	}
	d.Name, _, err = parseDiskstats(diskstats, d.Major, d.Minor)
	return d, err
}

// Counters reads the disk's counters.
func (d Disk) Counters() (DiskCounters, error) {
	diskstats, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return DiskCounters{}, err
	}
	_, c, err := parseDiskstats(diskstats, d.Major, d.Minor)
	return c, err
}
