package blobfs

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"syscall"

	"github.com/blobkv/blobkv/blobstore"
)

// Errors of the file system. Operations on a name return them inside an *fs.PathError; errors.Is finds both the
// sentinel and the general error of the standard library that it stands for.
var (
	// ErrNotExist is returned when a name or one of its parents does not exist. It is also fs.ErrNotExist.
	ErrNotExist error = &sentinel{"file does not exist", iofs.ErrNotExist}
	// ErrExist is returned when a name is taken. It is also fs.ErrExist.
	ErrExist error = &sentinel{"file already exists", iofs.ErrExist}
	// ErrClosed is returned after Close of the handle or of the file system. It is also fs.ErrClosed.
	ErrClosed error = &sentinel{"file already closed", iofs.ErrClosed}
	// ErrInvalid is returned for a name, offset or size that can never be right, and for a write through a handle that
	// is open for reading. It is also fs.ErrInvalid.
	ErrInvalid error = &sentinel{"invalid argument", iofs.ErrInvalid}
	// ErrNameTooLong is returned for a name of more than MaxName bytes. It is also ErrInvalid.
	ErrNameTooLong error = &sentinel{"file name too long", ErrInvalid}
	// ErrNotDir is returned when a path component is a file. It is also syscall.ENOTDIR.
	ErrNotDir error = &sentinel{"not a directory", syscall.ENOTDIR}
	// ErrIsDir is returned by a file operation on a directory. It is also syscall.EISDIR.
	ErrIsDir error = &sentinel{"is a directory", syscall.EISDIR}
	// ErrNotEmpty is returned when a directory with entries is removed or replaced. It is also syscall.ENOTEMPTY.
	ErrNotEmpty error = &sentinel{"directory not empty", syscall.ENOTEMPTY}
	// ErrNoSpace is returned when clusters, metadata pages or the host's space run out; the file system is as it was
	// before. It is also syscall.ENOSPC.
	ErrNoSpace error = &sentinel{"no space left on device", syscall.ENOSPC}
	// ErrReadOnly is returned by a change to a file system that is mounted for reading only, or that a failed flush has
	// made so. It is also syscall.EROFS.
	ErrReadOnly error = &sentinel{"read-only file system", syscall.EROFS}
	// ErrNotFS is returned when the store is intact but is not a blobfs.
	ErrNotFS = errors.New("not a blobfs")
	// ErrNewerVersion is returned when the file system needs features this program does not know.
	ErrNewerVersion = errors.New("blobfs of a newer format version")
	// ErrCorrupt is returned when names, kinds or lengths contradict each other or the store.
	ErrCorrupt = errors.New("blobfs metadata corrupt")
)

// sentinel is an error of this package that is also a general one.
type sentinel struct {
	text  string
	alias error
}

func (e *sentinel) Error() string { return e.text }
func (e *sentinel) Unwrap() error { return e.alias }

// storeErrors says which error of this package an error of the store is.
var storeErrors = []struct{ store, ours error }{
	{blobstore.ErrNoSpace, ErrNoSpace},
	{blobstore.ErrReadOnly, ErrReadOnly},
	{blobstore.ErrClosed, ErrClosed},
	{blobstore.ErrCorrupt, ErrCorrupt},
	{blobstore.ErrWrongType, ErrNotFS},
	{blobstore.ErrNewerVersion, ErrNewerVersion},
}

// fromStore adds our sentinel to an error of the store, which stays in the chain.
func fromStore(err error) error {
	if err == nil {
		return nil
	}
	for _, m := range storeErrors {
		if errors.Is(err, m.store) && !errors.Is(err, m.ours) {
			return fmt.Errorf("%w: %w", m.ours, err)
		}
	}
	if errors.Is(err, syscall.ENOSPC) && !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// pathError names the operation and the path of a failure; nil stays nil and a path error stays as it is.
func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var named *iofs.PathError
	if errors.As(err, &named) {
		return err
	}
	return &iofs.PathError{Op: op, Path: path, Err: fromStore(err)}
}
