//go:build unix

package filelock

import "golang.org/x/sys/unix"

// Lock locks the open file fd without waiting. The lock lasts until the last duplicate of the descriptor is closed.
// A lock in the way is reported as a *HeldError.
func Lock(fd uintptr, mode Mode) error {
	how := unix.LOCK_EX
	if mode == Shared {
		how = unix.LOCK_SH
	}
	for {
		err := unix.Flock(int(fd), how|unix.LOCK_NB)
		switch err {
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return holder(fd)
		default:
			return err
		}
	}
}
