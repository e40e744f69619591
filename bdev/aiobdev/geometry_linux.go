package aiobdev

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
)

const (
	sectorSize   = 512     // the smallest block there is
	pageSize     = 4096    // an alignment that satisfies every file system
	maxBlockSize = 1 << 16 // the largest block size accepted
)

// geometry is what direct I/O on one file needs.
type geometry struct {
	offsetAlign int  // bytes, of offsets and lengths
	memoryAlign int  // bytes, of buffers
	direct      bool // false: the file system refuses direct I/O
}

// directGeometry asks the kernel what direct I/O on an open file needs. Kernels before 6.1 do not tell (ok is false).
func directGeometry(fd int) (g geometry, ok bool) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 {
		return geometry{}, false
	}
	return geometry{
		offsetAlign: int(st.Dio_offset_align),
		memoryAlign: int(st.Dio_mem_align),
		direct:      st.Dio_offset_align != 0 && st.Dio_mem_align != 0,
	}, true
}

// probeGeometry finds the alignment out by reading one sector and then one page: direct I/O that is not aligned enough
// fails with EINVAL. The file must not be empty.
func probeGeometry(fd int) geometry {
	memory, err := unix.Mmap(-1, 0, 2*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return geometry{offsetAlign: pageSize, memoryAlign: pageSize, direct: true}
	}
	defer unix.Munmap(memory)
	for _, align := range []int{sectorSize, pageSize} {
		errno := retry(func() error {
			_, err := unix.Pread(fd, memory[align:2*align], 0)
			return err
		})
		if errno == 0 {
			return geometry{offsetAlign: align, memoryAlign: align, direct: true}
		}
	}
	return geometry{}
}

// blockDeviceSize returns a block device's size and logical block, in bytes.
func blockDeviceSize(fd int) (size int64, logicalBlock int, err error) {
	var bytes uint64
	if err := ioctlPointer(fd, unix.BLKGETSIZE64, unsafe.Pointer(&bytes)); err != nil {
		return 0, 0, fmt.Errorf("BLKGETSIZE64: %w", err)
	}
	logicalBlock, err = unix.IoctlGetInt(fd, unix.BLKSSZGET)
	if err != nil {
		return 0, 0, fmt.Errorf("BLKSSZGET: %w", err)
	}
	return int64(bytes), logicalBlock, nil
}

func ioctlPointer(fd int, request uint, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// chooseBlockSize checks the block size that was asked for, or takes the smallest possible one.
func chooseBlockSize(asked, least int) (int, error) {
	least = max(least, sectorSize)
	if asked == 0 {
		return least, nil
	}
	if asked < sectorSize || asked > maxBlockSize || asked&(asked-1) != 0 {
		return 0, fmt.Errorf("%w: block size %d is not a power of two from %d to %d", bdev.ErrInvalid, asked,
			sectorSize, maxBlockSize)
	}
	if asked < least {
		return 0, fmt.Errorf("%w: block size %d is less than the %d that direct I/O needs here", bdev.ErrInvalid,
			asked, least)
	}
	return asked, nil
}

// fileSystem names the file system a file is on, and says whether that keeps data over a power loss.
func fileSystem(fd int) (name string, durable bool) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return "this file system", true
	}
	switch magic := uint32(st.Type); magic {
	case unix.TMPFS_MAGIC:
		return "tmpfs", false
	case unix.RAMFS_MAGIC:
		return "ramfs", false
	case unix.EXT4_SUPER_MAGIC:
		return "ext4", true
	case unix.XFS_SUPER_MAGIC:
		return "xfs", true
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", true
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs", true
	case unix.NFS_SUPER_MAGIC:
		return "nfs", true
	case unix.FUSE_SUPER_MAGIC:
		return "fuse", true
	default:
		return fmt.Sprintf("file system %#x", magic), true
	}
}
