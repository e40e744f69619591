package blobfs

import (
	"time"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/blobstore"
)

type FormatOptions struct {
	blobstore.FormatOptions // Type is set by blobfs
}

type Options struct {
	ReadOnly         bool
	WriteBufferBytes int64 // bound on write-behind memory of the whole file system; 0: 16 MiB
	ReadAheadBytes   int64 // bound on read-ahead memory of the whole file system; 0: 8 MiB
	Progress         func(done, total int64)
}

// FS is a mounted file system. Safe for any goroutine. Paths are slash-separated, cleaned like path.Clean, rooted at "/".
type FS struct{}

func Format(dev *bdev.Device, o FormatOptions) error { panic("draft") }
func Open(dev *bdev.Device, o Options) (*FS, error)  { panic("draft") }
func (fs *FS) Close() error                          { panic("draft") } // the device stays open
func (fs *FS) Store() *blobstore.Store               { panic("draft") }

func (fs *FS) Create(name string) (*File, error)                     { panic("draft") } // replaces an existing name by a new, empty file
func (fs *FS) Open(name string) (*File, error)                       { panic("draft") } // reading; a directory opens too (Sync, Stat)
func (fs *FS) OpenReadWrite(name string, create bool) (*File, error) { panic("draft") }
func (fs *FS) Reuse(old, new string) (*File, error)                  { panic("draft") } // rename old over new and open for writing at 0, content kept
func (fs *FS) Remove(name string) error                              { panic("draft") } // file or empty directory
func (fs *FS) RemoveAll(name string) error                           { panic("draft") }
func (fs *FS) Rename(old, new string) error                          { panic("draft") } // atomic, also over an existing file
func (fs *FS) Link(old, new string) error                            { panic("draft") } // ErrExist if new exists
func (fs *FS) Mkdir(name string) error                               { panic("draft") }
func (fs *FS) MkdirAll(name string) error                            { panic("draft") }
func (fs *FS) List(dir string) ([]DirEntry, error)                   { panic("draft") } // ordered by name
func (fs *FS) Stat(name string) (Info, error)                        { panic("draft") }
func (fs *FS) Sync() error                                           { panic("draft") } // every namespace change so far
func (fs *FS) Usage() Usage                                          { panic("draft") } // cheap, no lock contention

type DirEntry struct {
	Name string
	Info Info
}
type Info struct {
	ID      blobstore.BlobID
	Size    int64 // exact bytes
	Dir     bool
	Links   int
	ModTime time.Time
}
type Usage struct{ TotalBytes, FreeBytes, UsedBytes int64 }

// File is an open handle. ReadAt is safe for any goroutine; Write, Sync and the rest are sequential per handle.
type File struct{}

func (f *File) Name() string                              { panic("draft") }
func (f *File) Read(p []byte) (int, error)                { panic("draft") } // io.EOF at the exact size
func (f *File) ReadAt(p []byte, off int64) (int, error)   { panic("draft") }
func (f *File) Write(p []byte) (int, error)               { panic("draft") } // at the handle's offset
func (f *File) WriteAt(p []byte, off int64) (int, error)  { panic("draft") }
func (f *File) Truncate(size int64) error                 { panic("draft") }
func (f *File) Preallocate(off, n int64) error            { panic("draft") } // size does not grow
func (f *File) Prefetch(off, n int64) error               { panic("draft") } // advisory
func (f *File) SetSequential()                            { panic("draft") } // read ahead on this handle
func (f *File) Sync() error                               { panic("draft") } // bytes and exact length; of a directory: every name
func (f *File) SyncTo(n int64) (fullSync bool, err error) { panic("draft") } // starts write-back of the prefix, promises nothing
func (f *File) Stat() (Info, error)                       { panic("draft") }
func (f *File) Close() error                              { panic("draft") }
