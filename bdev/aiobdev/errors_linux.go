package aiobdev

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
)

// ioError turns an errno into an error that matches both a sentinel of package bdev and the errno. The core adds
// device, operation and range. It allocates; only failures get here.
func ioError(errno unix.Errno) error {
	return fmt.Errorf("%w: %w", sentinel(errno), errno)
}

// shortError reports a transfer that ended early for a reason the kernel did not give, such as an image that another
// program cut short. The numbers are those of the part that ended early.
func shortError(moved, length, offset int64) error {
	return fmt.Errorf("%w: only %d of %d bytes were transferred at offset %d", bdev.ErrIO, moved, length, offset)
}

// sentinel returns the error of package bdev that an errno stands for.
func sentinel(errno unix.Errno) error {
	switch errno {
	case unix.ENOSPC, unix.EDQUOT:
		return bdev.ErrNoSpace
	case unix.EOPNOTSUPP, unix.ENOSYS, unix.ENOTTY:
		return bdev.ErrUnsupported
	case unix.EROFS:
		return bdev.ErrReadOnly
	default:
		return bdev.ErrIO
	}
}

// unsupported says whether an errno means that the file system or driver does not have an operation.
func unsupported(errno unix.Errno) bool {
	return errno == unix.EOPNOTSUPP || errno == unix.ENOSYS || errno == unix.ENOTTY || errno == unix.EINVAL
}

// errnoOf returns the errno in an error of package unix, 0 for nil.
func errnoOf(err error) unix.Errno {
	errno, _ := err.(unix.Errno)
	return errno
}
