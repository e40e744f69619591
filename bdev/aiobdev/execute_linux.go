package aiobdev

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
)

// Execute carries out the operations of Properties.Sync with blocking system calls.
func (b *Backend) Execute(r *bdev.Request) error {
	switch r.Op {
	case bdev.OpFlush:
		return b.flush()
	case bdev.OpUnmap:
		return b.unmap(r.Offset, r.Length)
	case bdev.OpWriteZeroes:
		return b.writeZeroes(r.Offset, r.Length)
	case bdev.OpAllocate:
		return b.allocate(r.Offset, r.Length)
	default:
		return bdev.ErrUnsupported
	}
}

// flush makes every completed write durable: data that the device caches, and the extents and size of an image.
func (b *Backend) flush() error {
	errno := retry(func() error { return unix.Fdatasync(b.fd) })
	if errno != 0 {
		return fmt.Errorf("fdatasync: %w", ioError(errno))
	}
	return nil
}

// unmap gives the range back to the file system or the device. It is advice: where it is not supported, nothing
// happens.
func (b *Backend) unmap(offset, length int64) error {
	var errno unix.Errno
	if b.block {
		errno = b.rangeIoctl(unix.BLKDISCARD, offset, length)
	} else {
		errno = b.fallocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
	}
	if errno == 0 || unsupported(errno) {
		return nil
	}
	return ioError(errno)
}

// writeZeroes makes the range read as zeros by the cheapest means that is supported here.
func (b *Backend) writeZeroes(offset, length int64) error {
	errno := b.zeroNatively(offset, length)
	if errno != 0 && unsupported(errno) {
		errno = b.writeZeroBytes(offset, length)
	}
	if errno != 0 {
		return ioError(errno)
	}
	return nil
}

// zeroNatively lets the kernel zero the range. ZERO_RANGE keeps the space reserved; a hole is second best.
func (b *Backend) zeroNatively(offset, length int64) unix.Errno {
	if b.block {
		return b.rangeIoctl(unix.BLKZEROOUT, offset, length)
	}
	errno := b.fallocate(unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
	if errno != 0 && unsupported(errno) {
		errno = b.fallocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
	}
	return errno
}

// writeZeroBytes zeroes the range with plain writes, for file systems that can do nothing better.
func (b *Backend) writeZeroBytes(offset, length int64) unix.Errno {
	zeros, err := unix.Mmap(-1, 0, int(min(length, maxTransfer)), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Munmap(zeros)
	for length > 0 {
		var n int
		errno := retry(func() (err error) {
			n, err = unix.Pwrite(b.fd, zeros[:min(length, int64(len(zeros)))], offset)
			return err
		})
		if errno != 0 {
			return errno
		}
		if n == 0 {
			return unix.EIO
		}
		offset += int64(n)
		length -= int64(n)
	}
	return 0
}

// allocate reserves space of the host for a range of an image, without touching what is written already.
func (b *Backend) allocate(offset, length int64) error {
	if b.block {
		return nil
	}
	errno := b.fallocate(unix.FALLOC_FL_KEEP_SIZE, offset, length)
	if errno == 0 || unsupported(errno) {
		return nil
	}
	return ioError(errno)
}

// fallocate calls fallocate(2) with a mode of FALLOC_FL_*.
func (b *Backend) fallocate(mode uint32, offset, length int64) unix.Errno {
	return retry(func() error { return unix.Fallocate(b.fd, mode, offset, length) })
}

// rangeIoctl calls a block device's ioctl that takes {start, length} in bytes.
func (b *Backend) rangeIoctl(request uint, offset, length int64) unix.Errno {
	span := [2]uint64{uint64(offset), uint64(length)}
	return retry(func() error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(b.fd), uintptr(request), uintptr(unsafe.Pointer(&span)))
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// retry repeats a system call that a signal interrupted; the Go runtime sends signals to preempt goroutines.
func retry(call func() error) unix.Errno {
	for {
		if errno := errnoOf(call()); errno != unix.EINTR {
			return errno
		}
	}
}
