package fusemount

import "errors"

var (
	// ErrUnavailable is returned when this machine or user cannot mount through FUSE. The text says what to do.
	ErrUnavailable = errors.New("cannot mount")
	// ErrDir is returned for a directory that cannot be mounted on. The text says why.
	ErrDir = errors.New("cannot mount there")
	// ErrBusy is returned by Unmount while a process uses the file system. The text names those that could be found.
	ErrBusy = errors.New("in use")
)

// Options say how a file system is mounted.
type Options struct {
	Source   string               // what mount(8) and df show as the device
	Writable bool                 // else every change is refused with EROFS
	Umask    uint32               // permission bits that files and directories do not have
	Log      func(message string) // takes errors that reach a program only as an I/O error; nil: dropped
}
