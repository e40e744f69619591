package bdev

import (
	"errors"
	"fmt"
)

// The errors of a device. They come wrapped in an *Error that names device, operation, offset and length; test with
// errors.Is.
var (
	// ErrOutOfRange is returned when a request does not lie within the device.
	ErrOutOfRange = errors.New("beyond the end of the device")
	// ErrUnaligned is returned when an offset or length is not a multiple of the block size.
	ErrUnaligned = errors.New("not a multiple of the block size")
	// ErrReadOnly is returned by operations that write on a device opened for reading.
	ErrReadOnly = errors.New("device is read-only")
	// ErrUnsupported is returned for operations the device cannot carry out and the core cannot emulate.
	ErrUnsupported = errors.New("operation not supported")
	// ErrInvalid is returned for requests whose fields contradict each other, and properties that make no sense.
	ErrInvalid = errors.New("invalid request")
	// ErrClosed is returned once Close was called.
	ErrClosed = errors.New("device is closed")
	// ErrNoSpace is returned when the host of a sparse image has no room for a write.
	ErrNoSpace = errors.New("no space left on the host of the device")
	// ErrInUse is returned when another process, or an open channel, uses the device.
	ErrInUse = errors.New("device is in use")
	// ErrIO is returned when the device failed to carry out a request.
	ErrIO = errors.New("device I/O error")
	// ErrMiscompare is returned when a compare found other data.
	ErrMiscompare = errors.New("data on the device differs from what was expected")
	// ErrNotExist is returned when there is no such device or image file and none was to be created.
	ErrNotExist = errors.New("device does not exist")
	// ErrGone is returned when the device has left: unplugged, powered off.
	ErrGone = errors.New("device is gone")
)

// Error is a failed request: where it failed, and why.
type Error struct {
	Device string
	Op     Op
	Offset int64 // bytes from the start of the device
	Length int64 // bytes
	Err    error
}

// Error names the device, the operation, its range and the reason.
func (e *Error) Error() string {
	if !e.Op.ranged() {
		return fmt.Sprintf("%s: %s: %v", e.Device, e.Op, e.Err)
	}
	return fmt.Sprintf("%s: %s of %d bytes at offset %d: %v", e.Device, e.Op, e.Length, e.Offset, e.Err)
}

// Unwrap gives the reason.
func (e *Error) Unwrap() error { return e.Err }

// wrap names the request in an error, once.
func (r *Request) wrap(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := err.(*Error); ok {
		return err
	}
	return &Error{Device: r.dev.name, Op: r.Op, Offset: r.Offset, Length: r.size(), Err: err}
}
