package blobstore

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Errors of finding and opening a store.
var (
	// ErrNotBlobstore is returned when the device does not begin with a blobstore superblock.
	ErrNotBlobstore = errors.New("not a blobstore")
	// ErrWrongType is returned when the store's type (bstype) is not the one asked for.
	ErrWrongType = errors.New("blobstore of another type")
	// ErrNewerVersion is returned when the store's format version or feature flags are newer than this program.
	ErrNewerVersion = errors.New("blobstore of a newer format version")
	// ErrTruncated is returned when the device is smaller than its superblock says.
	ErrTruncated = errors.New("blobstore truncated")
	// ErrUnsupported is returned when the store is intact but laid out in a way this program cannot use.
	ErrUnsupported = errors.New("blobstore layout not supported")
	// ErrCorrupt is returned when metadata fails its checks. The error's chain holds a *CorruptError that says where.
	ErrCorrupt = errors.New("blobstore metadata corrupt")
	// ErrNotClean is returned when a store that was not closed cleanly is opened for writing without recovery.
	ErrNotClean = errors.New("blobstore was not closed cleanly")
	// ErrOccupied is returned when Format finds something on the device that it must not overwrite.
	ErrOccupied = errors.New("device holds something else")
)

// Errors of operations on an open store.
var (
	// ErrUnsupportedBlob is returned when a blob needs something this program does not do (thin provisioning,
	// snapshots, clones). Only that blob is refused.
	ErrUnsupportedBlob = errors.New("blob not supported")
	// ErrNoSpace is returned when clusters, metadata pages or the host's space run out. It is also syscall.ENOSPC.
	ErrNoSpace error = &aliasError{"no space left in blobstore", syscall.ENOSPC}
	// ErrTooLarge is returned when one transaction changes more than the journal can take at once.
	ErrTooLarge = errors.New("transaction too large")
	// ErrTooMuchVouched is returned by a Commit whose voucher would leave recovery more bytes to verify than the store
	// allows. The same change without a voucher, after the bytes are durable, is never refused for that.
	ErrTooMuchVouched = errors.New("too many vouched bytes are unconfirmed")
	// ErrNotFound is returned when no blob has the id. It is also fs.ErrNotExist.
	ErrNotFound error = &aliasError{"no such blob", fs.ErrNotExist}
	// ErrReadOnly is returned by a change to a store or blob that is open for reading only, or that a failed write or
	// flush has made so. It is also syscall.EROFS.
	ErrReadOnly error = &aliasError{"blobstore is read-only", syscall.EROFS}
	// ErrClosed is returned after Close. It is also fs.ErrClosed.
	ErrClosed error = &aliasError{"blobstore is closed", fs.ErrClosed}
	// ErrOutOfRange is returned by I/O beyond the end of a blob or off its alignment. It is also syscall.EINVAL.
	ErrOutOfRange error = &aliasError{"outside the blob", syscall.EINVAL}
	// ErrInvalid is returned for an argument that can never be right. It is also syscall.EINVAL.
	ErrInvalid error = &aliasError{"invalid argument", syscall.EINVAL}
)

// aliasError is a sentinel that is also another, general one.
type aliasError struct {
	text  string
	alias error
}

func (e *aliasError) Error() string { return e.text }
func (e *aliasError) Unwrap() error { return e.alias }

// CorruptError says which bytes failed which check. errors.Is(err, ErrCorrupt) holds.
type CorruptError struct {
	Device   string // name of the device, "" where a structure is checked by itself
	Offset   int64  // bytes from the start of the device
	What     string // the structure or field, e.g. "metadata page 7: crc"
	Expected string // what would have been right
	Got      string // what is there
}

func (e *CorruptError) Error() string {
	where := fmt.Sprintf("offset %d", e.Offset)
	if e.Device != "" {
		where = e.Device + ": " + where
	}
	return fmt.Sprintf("%s: %s: expected %s, got %s", where, e.What, e.Expected, e.Got)
}

// Unwrap makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// corruptf builds a CorruptError whose offset is relative to the structure that was read; at places it on the device.
func corruptf(offset int, what, expected, got string) *CorruptError {
	return &CorruptError{Offset: int64(offset), What: what, Expected: expected, Got: got}
}

// at places a corruption that was found in a buffer at the buffer's origin on the device. Other errors pass through.
func at(err error, device string, origin int64, what string) error {
	var c *CorruptError
	if !errors.As(err, &c) || c.Device != "" {
		return err
	}
	placed := *c
	placed.Device = device
	placed.Offset += origin
	if what != "" {
		placed.What = what + ": " + c.What
	}
	return &placed
}
