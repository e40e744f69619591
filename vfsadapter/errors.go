package vfsadapter

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Pebble asks its errors three questions: does the name not exist, does it exist already, is the device full. BlobFS's
// errors answer the first two (they wrap fs.ErrNotExist and fs.ErrExist); the third is the operating system's own code.

// pathError adds operation and path to an error of a namespace operation.
func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: native(err)}
}

// linkError is pathError for operations on two names.
func linkError(op, oldname, newname string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: oldname, New: newname, Err: native(err)}
}

// ioError is pathError for operations on an open file: io.EOF is no error and stays bare.
func ioError(op, path string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: op, Path: path, Err: native(err)}
}

// native makes vfs.IsNoSpaceError recognise a full device on every operating system.
func native(err error) error {
	if errors.Is(err, syscall.ENOSPC) && !errors.Is(err, errNoSpace) {
		return &noSpaceError{err: err}
	}
	return err
}

// noSpaceError is err, which is an ENOSPC, and the code that the operating system has for it.
type noSpaceError struct{ err error }

func (e *noSpaceError) Error() string   { return e.err.Error() }
func (e *noSpaceError) Unwrap() error   { return e.err }
func (e *noSpaceError) Is(t error) bool { return t == errNoSpace }
