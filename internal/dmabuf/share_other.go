//go:build !linux

package dmabuf

import "errors"

// MakeShareable fails: memory that has a descriptor is a matter of Linux here.
func MakeShareable() error { return errors.New("shareable memory: not supported on this system") }

// Backing is false: no memory is shareable.
func Backing([]byte) (fd int, offset int64, ok bool) { return -1, 0, false }
