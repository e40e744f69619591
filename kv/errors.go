package kv

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// Errors of this package, for errors.Is. What is returned wraps one of them and the cause below it, which names device
// and offset where there is one.
var (
	// ErrNotFound is returned by the Get methods for a key that is not there.
	ErrNotFound = errors.New("kv: key not found")
	// ErrNoSpace is returned by writes while less than the reserve is free. The store stays readable; deletes heal it.
	ErrNoSpace = errors.New("kv: no space left on the device")
	// ErrStalled is returned by writes while compactions fail, before they could wait for one in vain. Nothing has changed. It
	// wraps why they fail: ErrNoSpace, ErrCorrupt or what the device says.
	ErrStalled = errors.New("kv: compactions fail")
	// ErrReadOnly is returned by writes to a store that was opened with Options.ReadOnly, or that has become read-only.
	ErrReadOnly = errors.New("kv: the store is read-only")
	// ErrInUse is returned by Open for a device that is open elsewhere; the message names the process if it can be
	// known.
	ErrInUse = errors.New("kv: the device is in use")
	// ErrExists is returned by Open with ErrorIfExists for a device that holds a store.
	ErrExists = errors.New("kv: the store exists already")
	// ErrNotStore is returned by Open for a device without a store: nothing there and CreateIfMissing not set, or
	// something that is not ours and is never overwritten.
	ErrNotStore = errors.New("kv: not a store")
	// ErrNewerVersion is returned by Open for a store that a newer version of this package made. It is intact.
	ErrNewerVersion = errors.New("kv: the store is of a newer version")
	// ErrCorrupt is returned when bytes on the device are not what was written.
	ErrCorrupt = errors.New("kv: the store is damaged")
	// ErrClosed is returned by what is called after Close of the store, batch, iterator or snapshot, Close of the last three
	// excepted.
	ErrClosed = errors.New("kv: closed")
	// ErrOpenHandles is returned by Close while iterators or snapshots are open; the store stays open.
	ErrOpenHandles = errors.New("kv: iterators or snapshots are open")
	// ErrDevice is returned by Open for a device name that cannot be read or options of it that do not fit, and for a
	// device under MinSize.
	ErrDevice = errors.New("kv: unusable device")
	// ErrOptions is returned by Open for Options that make no sense.
	ErrOptions = errors.New("kv: bad options")
	// ErrEmptyKey is returned for a Set or Delete of the empty key, which the engine cannot write into a table.
	ErrEmptyKey = errors.New("kv: empty key")
	// ErrTooLarge is returned for a key, value or batch over the limits MaxKeySize, MaxValueSize and MaxBatchSize.
	ErrTooLarge = errors.New("kv: too large")
)

// kinds says which error of the layers below is which of ours; the first that matches wins.
var kinds = []struct{ cause, kind error }{
	{pebble.ErrReadOnly, ErrReadOnly},
	{pebble.ErrClosed, ErrClosed},
	{pebble.ErrDBAlreadyExists, ErrExists},
	{pebble.ErrDBDoesNotExist, ErrNotStore},
	{pebble.ErrDBNotPristine, ErrCorrupt}, // data, but not the file that tells its version
	{pebble.ErrBatchTooLarge, ErrTooLarge},
	{bdev.ErrNoSpace, ErrNoSpace},
	{bdev.ErrInUse, ErrInUse},
	{bdev.ErrReadOnly, ErrReadOnly},
	{bdev.ErrClosed, ErrClosed},
	{open.ErrName, ErrDevice},
	{bdev.ErrInvalid, ErrDevice},
	{bdev.ErrNotExist, ErrNotStore},
	{blobfs.ErrNoSpace, ErrNoSpace},
	{blobfs.ErrReadOnly, ErrReadOnly},
	{blobfs.ErrClosed, ErrClosed},
	{blobfs.ErrNotFS, ErrNotStore},
	{blobfs.ErrNewerVersion, ErrNewerVersion},
	{blobfs.ErrCorrupt, ErrCorrupt},
	{blobstore.ErrNoSpace, ErrNoSpace},
	{blobstore.ErrReadOnly, ErrReadOnly},
	{blobstore.ErrClosed, ErrClosed},
	{blobstore.ErrNotBlobstore, ErrNotStore},
	{blobstore.ErrWrongType, ErrNotStore},
	{blobstore.ErrUnsupported, ErrNotStore}, // a layout that this package never makes
	{blobstore.ErrOccupied, ErrNotStore},    // Format found something that it must not overwrite
	{blobstore.ErrNewerVersion, ErrNewerVersion},
	{blobstore.ErrCorrupt, ErrCorrupt},
	{blobstore.ErrTruncated, ErrCorrupt},
	{blobstore.ErrNotClean, ErrCorrupt}, // another program wrote to the store and did not close it
	{syscall.ENOSPC, ErrNoSpace},
}

// wrap adds the sentinel of this package that an error of a lower layer amounts to.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case err == pebble.ErrNotFound:
		return ErrNotFound
	}
	if kind := kindOf(err); kind != nil && !errors.Is(err, kind) {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

func kindOf(err error) error {
	for _, k := range kinds {
		if errors.Is(err, k.cause) {
			return k.kind
		}
	}
	if pebble.IsCorruptionError(err) {
		return ErrCorrupt
	}
	return nil
}

// wrapf is wrap with a prefix that says what failed.
func wrapf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return wrap(fmt.Errorf(format+": %w", append(args, err)...))
}
