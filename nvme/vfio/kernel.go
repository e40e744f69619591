package vfio

// kernel is what the package asks of the operating system; tests put their own in its place. Numbers in structures are in
// the byte order of the machine.
type kernel interface {
	// open opens a device node for reading and writing.
	open(path string) (int, error)
	close(fd int) error
	// ioctl passes a structure that the kernel reads and may write to; nil passes 0.
	ioctl(fd int, request uint, arg []byte) (int, error)
	// ioctlValue passes a number.
	ioctlValue(fd int, request uint, value uintptr) (int, error)
	// pread and pwrite move all of b or fail.
	pread(fd int, b []byte, offset int64) error
	pwrite(fd int, b []byte, offset int64) error
	// mapDevice maps device memory, mapMemory zeroed memory outside the Go heap, from the pool of huge pages if asked.
	mapDevice(fd int, offset int64, size int) ([]byte, error)
	mapMemory(size int, huge bool) ([]byte, error)
	unmap(b []byte) error
	// eventfd makes an eventfd(2) that never blocks; signalled takes what it counted.
	eventfd() (int, error)
	signalled(fd int) bool
	// lockedLimit is RLIMIT_MEMLOCK in bytes.
	lockedLimit() uint64
	// owner says who may open a file: user, group, permissions.
	owner(path string) string
}
