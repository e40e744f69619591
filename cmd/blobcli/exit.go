package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
	"github.com/blobkv/blobkv/cmd/blobcli/internal/fusemount"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/connect"
	"github.com/blobkv/blobkv/nvme/vfio"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

// Exit codes are stable: scripts may rely on them. A code that is not listed must be treated as failure.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotStore    = 3
	exitFindings    = 4
	exitInUse       = 5
	exitNotFound    = 6
	exitNoSpace     = 7
	exitCorrupt     = 8
	exitRefused     = 9
	exitNoFUSE      = 10
	exitNoNVMe      = 11
	exitInterrupted = 130
)

const exitCodeHelp = `  0    done
  1    failed (I/O error and anything not listed here)
  2    wrong arguments
  3    the device holds no store, one of another type, or one of a newer version
  4    check found problems, or perf --verify found wrong content
  5    the device, or the folder of bdev export, is in use by another process
  6    no such device, blob, file or directory
  7    no space left
  8    metadata is corrupt or truncated
  9    refused: the device holds something else or cannot be written, or the blob needs what is not supported
  10   mount: this machine or user cannot mount through FUSE
  11   this machine or user cannot drive the NVMe controller: bound elsewhere, no IOMMU, permissions, locked memory
  130  interrupted (mount and bdev export end with 0: that is how one ends them)`

// usageError is a wrong command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() + " (see blobcli --help)" }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errContent is content that is not what was written.
var errContent = errors.New("wrong content")

// errFindings ends a command that has already said what it found.
var errFindings = errors.New("problems found")

func isSilent(err error) bool { return errors.Is(err, errFindings) || errors.Is(err, syscall.EPIPE) }

// exitCodes maps sentinels to codes; the first match counts.
var exitCodes = []struct {
	target error
	code   int
}{
	{errFindings, exitFindings},
	{errContent, exitFindings},
	{open.ErrName, exitUsage},
	{connect.ErrName, exitUsage},
	{errNotConfirmed, exitRefused},
	{bdev.ErrInUse, exitInUse},
	{vfio.ErrInUse, exitInUse},
	{vfiouser.ErrInUse, exitInUse},
	{fusemount.ErrUnavailable, exitNoFUSE},
	{vfio.ErrBoundElsewhere, exitNoNVMe},
	{vfio.ErrNoIOMMU, exitNoNVMe},
	{vfio.ErrNotViable, exitNoNVMe},
	{vfio.ErrPermission, exitNoNVMe},
	{vfiouser.ErrPermission, exitNoNVMe},
	{vfio.ErrLockedMemory, exitNoNVMe},
	{vfio.ErrNotLoaded, exitNoNVMe},
	{blobstore.ErrOccupied, exitRefused},
	{blobstore.ErrUnsupportedBlob, exitRefused},
	{blobstore.ErrNotBlobstore, exitNotStore},
	{blobstore.ErrWrongType, exitNotStore},
	{blobstore.ErrNewerVersion, exitNotStore},
	{blobstore.ErrInvalid, exitUsage},
	{blobfs.ErrNotFS, exitNotStore},
	{blobfs.ErrNewerVersion, exitNotStore},
	{blobstore.ErrCorrupt, exitCorrupt},
	{blobfs.ErrCorrupt, exitCorrupt},
	{blobstore.ErrTruncated, exitCorrupt},
	{syscall.ENOSPC, exitNoSpace},
	{bdev.ErrNotExist, exitNotFound},
	{vfio.ErrNotFound, exitNotFound},
	{nvme.ErrNoNamespace, exitNotFound},
	{fs.ErrNotExist, exitNotFound},
	{fusemount.ErrDir, exitUsage},
	{blobfs.ErrReadOnly, exitRefused},
	{bdev.ErrReadOnly, exitRefused},
	{syscall.EPIPE, exitOK},
}

// lateError is an error of a command that an interrupt ends in order: it is what counts, not the interrupt.
type lateError struct{ err error }

func (e *lateError) Error() string { return e.err.Error() }
func (e *lateError) Unwrap() error { return e.err }

// interrupted says whether an interrupt is why a command failed.
func interrupted(ctx context.Context, err error) bool {
	var late *lateError
	return ctx.Err() != nil && !errors.As(err, &late)
}

// exitCode is the code of an error; ctx tells whether the user interrupted the command.
func exitCode(ctx context.Context, err error) int {
	if interrupted(ctx, err) {
		return exitInterrupted
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	for _, e := range exitCodes {
		if errors.Is(err, e.target) {
			return e.code
		}
	}
	return exitFailure
}
