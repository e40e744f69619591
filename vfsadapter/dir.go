package vfsadapter

import (
	"errors"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobkv/blobkv/blobfs"
)

// dir is an open directory: a handle to sync. Its Sync may be called concurrently and makes every namespace change of
// the file system that came before durable.
type dir struct {
	f    *blobfs.File // follows the directory through renames
	name string       // as it was opened, for messages and Stat
}

var _ vfs.File = (*dir)(nil)

func (a *FS) openDir(name string) (vfs.File, error) {
	f, err := a.fs.Open(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	d := &dir{f: f, name: name}
	in, err := d.Stat()
	if err == nil && !in.IsDir() {
		err = pathError("open", name, syscall.ENOTDIR)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Sync makes the names durable. BlobFS keeps one journal for all directories; nothing pending costs nothing.
func (d *dir) Sync() error { return ioError("sync", d.name, d.f.Sync()) }

func (d *dir) SyncData() error { return d.Sync() }

// SyncTo is a no-op for directories, as vfs.File says.
func (d *dir) SyncTo(int64) (fullSync bool, err error) { return false, nil }

func (d *dir) Stat() (vfs.FileInfo, error) {
	in, err := d.f.Stat()
	if err != nil {
		return nil, ioError("stat", d.name, err)
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

func (d *dir) Close() error { return ioError("close", d.name, d.f.Close()) }
