package filelock

import "golang.org/x/sys/windows"

// lockOffset is where the locked byte lies, in units of 4 GiB. Windows locks are mandatory for the bytes they cover,
// so it is one that no image reaches and no other program has a reason to read.
const lockOffset = 1 << 30

// Lock locks the open file fd without waiting. The lock lasts until the handle is closed. A lock in the way is
// reported as a *HeldError.
func Lock(fd uintptr, mode Mode) error {
	flags := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if mode == Exclusive {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	at := windows.Overlapped{OffsetHigh: lockOffset}
	err := windows.LockFileEx(windows.Handle(fd), flags, 0, 1, 0, &at)
	if err == windows.ERROR_LOCK_VIOLATION || err == windows.ERROR_IO_PENDING {
		return &HeldError{}
	}
	return err
}
