//go:build !linux

package procstat

// MountOf is not available here.
func MountOf(string) (Mount, error) { return Mount{}, ErrUnsupported }
