package fusemount

import (
	"context"
	"io"
	"math"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/blobfs"
)

// handle is an open file. Requests come in parallel; Release comes when none is left.
type handle struct {
	s *server
	f *blobfs.File
}

// Read fills dest up to the end of the file.
func (h *handle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.f.ReadAt(dest, off)
	if err != nil && err != io.EOF {
		return nil, h.s.errno(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// Write writes at an offset; appending is the kernel's business, which knows the size.
func (h *handle) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n, err := h.f.WriteAt(data, off)
	if n > 0 {
		return uint32(n), 0 // the rest fails when the program tries again
	}
	return 0, h.s.errno(err)
}

// Allocate reserves space: beyond the end of the file if it is to keep its size, else by making it longer, with zeros. A
// file has no holes, so there is nothing to do below its end, and none can be punched.
func (h *handle) Allocate(_ context.Context, off, size uint64, mode uint32) syscall.Errno {
	if off > math.MaxInt64 || size > math.MaxInt64-off {
		return syscall.EFBIG
	}
	switch mode {
	case unix.FALLOC_FL_KEEP_SIZE:
		return h.s.errno(h.f.Preallocate(int64(off), int64(size)))
	case 0:
		return h.s.errno(h.extend(int64(off + size)))
	}
	return syscall.EOPNOTSUPP
}

// extend makes the file at least end bytes long. The kernel lets no write of the file in between.
func (h *handle) extend(end int64) error {
	info, err := h.f.Stat()
	if err != nil || info.Size >= end {
		return err
	}
	return h.f.Truncate(end)
}

// Release closes the file. What was written goes to the device, without a promise: that is fsync's. A program cannot be
// told any more that it failed, so the log is.
func (h *handle) Release(context.Context) syscall.Errno {
	err := h.f.Close()
	if err != nil && h.s.log != nil {
		h.s.log(err.Error())
	}
	return 0
}
