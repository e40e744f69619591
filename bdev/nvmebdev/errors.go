package nvmebdev

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/vfio"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

// sentinels of the block layer for what the driver and the transports say; the first match counts.
var sentinels = []struct{ from, to error }{
	{nvme.ErrMiscompare, bdev.ErrMiscompare},
	{nvme.ErrNoNamespace, bdev.ErrGone},
	{nvme.ErrGone, bdev.ErrGone},
	{nvme.ErrClosed, bdev.ErrClosed},
	{nvme.ErrOutOfRange, bdev.ErrOutOfRange},
	{nvme.ErrWriteProtected, bdev.ErrReadOnly},
	{nvme.ErrNoSpace, bdev.ErrNoSpace},
	{nvme.ErrNoQueues, bdev.ErrInUse},
	{vfio.ErrInUse, bdev.ErrInUse},
	{vfiouser.ErrInUse, bdev.ErrInUse},
	{vfio.ErrNotFound, bdev.ErrNotExist},
	{fs.ErrNotExist, bdev.ErrNotExist},
	{nvme.ErrUnsupported, bdev.ErrUnsupported},
	{nvme.ErrInvalid, bdev.ErrInvalid},
}

// translate adds the block layer's sentinel to an error. What has no other is an I/O error.
func translate(err error) error {
	if err == nil {
		return nil
	}
	for _, s := range sentinels {
		if errors.Is(err, s.from) {
			return fmt.Errorf("%w: %w", s.to, err)
		}
	}
	return fmt.Errorf("%w: %w", bdev.ErrIO, err)
}

// translateOpen is translate for opening: an error without a counterpart stays as it is, and a namespace that is not there is none
// that has gone.
func translateOpen(err error) error {
	if errors.Is(err, nvme.ErrNoNamespace) && !errors.Is(err, bdev.ErrNotExist) {
		return &openError{err, bdev.ErrNotExist}
	}
	for _, s := range sentinels {
		if errors.Is(err, s.from) && !errors.Is(err, s.to) {
			if s.to == bdev.ErrGone {
				break
			}
			return &openError{err, s.to}
		}
	}
	return err
}

// openError reads as the driver's error, which begins with the controller and says all there is, and is the block layer's as well.
type openError struct {
	error
	is error
}

func (e *openError) Unwrap() []error { return []error{e.error, e.is} }
