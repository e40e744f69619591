//go:build linux || darwin

package kv

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev/open"
)

// hostSpaceOf returns the view of the file system below an image file; nil for other devices.
func hostSpaceOf(device string) hostSpace {
	path := open.ImagePath(device)
	if path == "" {
		return nil
	}
	if in, err := os.Stat(path); err != nil || !in.Mode().IsRegular() {
		return nil
	}
	return func() (free, unallocated int64, err error) { return imageSpace(path) }
}

// imageSpace asks the host. An image that is allocated in full, or more (metadata counts), needs nothing.
func imageSpace(path string) (free, unallocated int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, 0, err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, err
	}
	const statBlock = 512 // bytes, whatever the file system's own block
	return int64(fs.Bavail) * int64(fs.Bsize), max(0, st.Size-st.Blocks*statBlock), nil
}
