package vfsadapter

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobkv/blobkv/blobfs"
)

// fakeFd is what Fd returns: not vfs.InvalidFd, which would make Pebble's syncing file replace SyncTo by a blocking
// SyncData every 512 KiB and never preallocate a log; and no number that a descriptor of this process can have, since
// some of Pebble's helpers advise the kernel about it (which then fails with EBADF, and that is ignored).
const fakeFd uintptr = 1 << 30

// file is one open handle.
type file struct {
	f    *blobfs.File
	name string // as it was opened, for messages and Stat

	tail atomic.Pointer[tail] // of a table that was just opened; nil for others
}

var _ vfs.File = (*file)(nil)

func (f *file) Read(p []byte) (int, error) {
	n, err := f.f.Read(p)
	return n, ioError("read", f.name, err)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if t := f.tail.Load(); t != nil {
		ok, last := t.read(f.f, p, off)
		if last {
			f.tail.Store(nil)
		}
		if ok {
			return len(p), nil
		}
	}
	n, err := f.f.ReadAt(p, off)
	return n, ioError("read", f.name, err)
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	return n, ioError("write", f.name, err)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(p, off)
	return n, ioError("write", f.name, err)
}

// Preallocate reserves space; the length of the file does not change.
func (f *file) Preallocate(off, n int64) error {
	return ioError("preallocate", f.name, f.f.Preallocate(off, n))
}

func (f *file) Stat() (vfs.FileInfo, error) {
	in, err := f.f.Stat()
	if err != nil {
		return nil, ioError("stat", f.name, err)
	}
	return newInfo(f.name, in), nil
}

func (f *file) Sync() error { return ioError("sync", f.name, f.f.Sync()) }

// SyncData is Sync: BlobFS syncs what is needed to read the bytes back and nothing else.
func (f *file) SyncData() error { return ioError("sync", f.name, f.f.Sync()) }

func (f *file) SyncTo(n int64) (fullSync bool, err error) {
	fullSync, err = f.f.SyncTo(n)
	return fullSync, ioError("sync", f.name, err)
}

func (f *file) Prefetch(off, n int64) error {
	return ioError("prefetch", f.name, f.f.Prefetch(off, n))
}

func (f *file) Close() error {
	if t := f.tail.Swap(nil); t != nil {
		t.close()
	}
	return ioError("close", f.name, f.f.Close())
}

func (f *file) Fd() uintptr { return fakeFd }
