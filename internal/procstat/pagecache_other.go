//go:build !linux

package procstat

// SyncFS is not available here.
func SyncFS(string) error { return ErrUnsupported }

// DropPageCache is not available here.
func DropPageCache() error { return ErrUnsupported }

// DropFiles is not available here.
func DropFiles(string) error { return ErrUnsupported }
