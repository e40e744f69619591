//go:build !linux

package procstat

// DiskOf is not available here.
func DiskOf(string) (Disk, error) { return Disk{}, ErrUnsupported }

// Counters is not available here.
func (Disk) Counters() (DiskCounters, error) { return DiskCounters{}, ErrUnsupported }
