//go:build unix

package main

import "golang.org/x/sys/unix"

// currentUmask is the process's umask. It can only be read by setting it.
func currentUmask() uint32 {
	mask := unix.Umask(0)
	unix.Umask(mask)
	return uint32(mask)
}
