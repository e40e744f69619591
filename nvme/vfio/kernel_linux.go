package vfio

import (
	"fmt"
	"io"
	"os/user"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// system is the running kernel.
type system struct{}

func supported() error { return nil }

func (system) open(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (system) close(fd int) error { return unix.Close(fd) }

func (s system) ioctl(fd int, request uint, arg []byte) (int, error) {
	if len(arg) == 0 {
		return s.ioctlValue(fd, request, 0)
	}
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&arg[0])))
		if errno == 0 {
			return int(r), nil
		}
		if errno != unix.EINTR {
			return int(r), errno
		}
	}
}

func (system) ioctlValue(fd int, request uint, value uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), value)
		if errno == 0 {
			return int(r), nil
		}
		if errno != unix.EINTR {
			return int(r), errno
		}
	}
}

func (system) pread(fd int, b []byte, offset int64) error {
	n, err := unix.Pread(fd, b, offset)
	if err == nil && n != len(b) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (system) pwrite(fd int, b []byte, offset int64) error {
	n, err := unix.Pwrite(fd, b, offset)
	if err == nil && n != len(b) {
		return io.ErrShortWrite
	}
	return err
}

func (system) mapDevice(fd int, offset int64, size int) ([]byte, error) {
	return unix.Mmap(fd, offset, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// mapMemory keeps the memory out of children: a fork would make the parent's next write go to a page that the controller
// does not reach.
func (system) mapMemory(size int, huge bool) ([]byte, error) {
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	if huge {
		flags |= unix.MAP_HUGETLB | 21<<unix.MAP_HUGE_SHIFT // pages of 2 MiB
	}
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, err
	}
	if err := unix.Madvise(b, unix.MADV_DONTFORK); err != nil {
		_ = unix.Munmap(b) // it was mapped a moment ago
		return nil, err
	}
	return b, nil
}

func (system) unmap(b []byte) error { return unix.Munmap(b) }

func (system) eventfd() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) }

func (system) signalled(fd int) bool {
	var b [8]byte
	n, err := unix.Read(fd, b[:])
	return err == nil && n == len(b)
}

func (system) lockedLimit() uint64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return 0
	}
	return l.Cur
}

func (system) owner(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "unknown owner"
	}
	name, group := strconv.Itoa(int(st.Uid)), strconv.Itoa(int(st.Gid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("owner %s, group %s, mode %04o", name, group, st.Mode&0o7777)
}
