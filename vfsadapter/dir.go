package vfsadapter

import (
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobkv/blobkv/blobfs"
)

// dir is an open directory: a handle to sync. Its Sync may be called concurrently and makes every namespace change of
// the file system that came before durable.
type dir struct {
	fs   *blobfs.FS
	name string
}

var _ vfs.File = (*dir)(nil)

func (a *FS) openDir(name string) (vfs.File, error) {
	in, err := a.fs.Stat(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if !in.Dir {
		return nil, pathError("open", name, syscall.ENOTDIR)
	}
	return &dir{fs: a.fs, name: name}, nil
}

// Sync makes the names durable. BlobFS keeps one journal for all directories; nothing pending costs nothing.
func (d *dir) Sync() error { return ioError("sync", d.name, d.fs.Sync()) }

func (d *dir) SyncData() error { return d.Sync() }

// SyncTo is a no-op for directories, as vfs.File says.
func (d *dir) SyncTo(int64) (fullSync bool, err error) { return false, nil }

func (d *dir) Stat() (vfs.FileInfo, error) {
	in, err := d.fs.Stat(d.name)
	if err != nil {
		return nil, pathError("stat", d.name, err)
	}
	return newInfo(d.name, in), nil
}

func (d *dir) Read([]byte) (int, error) { return 0, pathError("read", d.name, syscall.EISDIR) }

func (d *dir) ReadAt([]byte, int64) (int, error) {
	return 0, pathError("read", d.name, syscall.EISDIR)
}

func (d *dir) Write([]byte) (int, error) { return 0, pathError("write", d.name, syscall.EISDIR) }

func (d *dir) WriteAt([]byte, int64) (int, error) {
	return 0, pathError("write", d.name, syscall.EISDIR)
}

func (d *dir) Preallocate(int64, int64) error { return nil }

func (d *dir) Prefetch(int64, int64) error { return nil }

func (d *dir) Fd() uintptr { return fakeFd }

func (d *dir) Close() error { return nil }
