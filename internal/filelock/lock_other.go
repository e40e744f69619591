//go:build !unix && !windows

package filelock

import "errors"

// Lock is not available on this system.
func Lock(uintptr, Mode) error { return errors.ErrUnsupported }
