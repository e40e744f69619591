package fusemount

import (
	"errors"
	"syscall"

	"github.com/blobkv/blobkv/blobfs"
)

// errnos says what the errors of blobfs are to a program; the first match counts. Everything else is EIO: damage, failed
// I/O, what should not happen.
var errnos = []struct {
	sentinel error
	errno    syscall.Errno
}{
	{blobfs.ErrNotExist, syscall.ENOENT},
	{blobfs.ErrExist, syscall.EEXIST},
	{blobfs.ErrNotDir, syscall.ENOTDIR},
	{blobfs.ErrIsDir, syscall.EISDIR},
	{blobfs.ErrNotEmpty, syscall.ENOTEMPTY},
	{blobfs.ErrNoSpace, syscall.ENOSPC},
	{blobfs.ErrReadOnly, syscall.EROFS},
	{blobfs.ErrNameTooLong, syscall.ENAMETOOLONG},
	{blobfs.ErrInvalid, syscall.EINVAL},
}

// errno translates an error. What a program will see as nothing but an I/O error goes to the log in full.
func (s *server) errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	for _, e := range errnos {
		if errors.Is(err, e.sentinel) {
			return e.errno
		}
	}
	if s.log != nil {
		s.log(err.Error())
	}
	return syscall.EIO
}
