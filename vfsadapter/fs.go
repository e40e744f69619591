package vfsadapter

import (
	"io"
	"os"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobkv/blobkv/blobfs"
)

// Options of New. The zero value adapts the file system as it is.
type Options struct {
	// CompactionFloor is a number of bytes. A write to a table that a compaction makes is refused with ENOSPC while
	// fewer bytes would be available after it; flushes, logs and everything else may use them.
	CompactionFloor int64

	// Available says how many bytes can still be allocated. Nil: the file system's own count. It is called for
	// every write of a compaction and must be cheap.
	Available func() int64

	// AwaitRoom is called when a write is about to be refused. It may wait for room; true has the write try again. Nil:
	// nothing is waited for.
	AwaitRoom func() bool

	// Cache answers reads of files that are opened with RandomReadsOption, as Pebble opens its tables. Nil: none. The
	// caller keeps it and closes it after the last user of the adapter.
	Cache *BlockCache

	// Base is what Unwrap returns: the file system that holds the device, where a test wants vfs.Root to find it.
	Base vfs.FS
}

// FS is a mounted BlobFS as Pebble's vfs.FS. It is compared by pointer.
type FS struct {
	fs   *blobfs.FS
	opts Options

	refusals refusals
	damaged  damagedTables
	tails    tails
	logs     atomic.Pointer[LogCheck] // nil: logs are files like others

	removing sync.RWMutex
	removed  bool // guarded by removing

	mu struct {
		sync.Mutex
		locked map[string]struct{} // absolute paths that Lock holds
	}
}

var _ vfs.FS = (*FS)(nil)

// New adapts fs. The caller keeps fs and closes it after the last user of the adapter.
func New(fs *blobfs.FS, o Options) *FS {
	a := &FS{fs: fs, opts: o}
	a.refusals.delay = firstRefusalDelay
	a.damaged.sleep = time.Sleep
	if a.opts.Available == nil {
		a.opts.Available = func() int64 { return fs.Usage().FreeBytes }
	}
	if a.opts.AwaitRoom == nil {
		a.opts.AwaitRoom = func() bool { return false }
	}
	a.mu.locked = make(map[string]struct{})
	return a
}

// Create makes a new, empty file; a file of that name is replaced, not truncated.
func (a *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := a.fs.Create(name)
	if err != nil {
		return nil, pathError("create", name, err)
	}
	return logged(a.limited(&file{f: f, name: name}, category), name), nil
}

// Link makes newname a second name of the file oldname.
func (a *FS) Link(oldname, newname string) error {
	return linkError("link", oldname, newname, a.fs.Link(oldname, newname))
}

// Open opens a file or a directory for reading.
func (a *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	sequential := slices.Contains(opts, vfs.SequentialReadsOption)
	if sequential {
		a.damaged.await(name)
	}
	f, err := a.fs.Open(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	opened := applyOptions(&file{f: f, name: name}, opts)
	if opensTable(opts) {
		opened.tail.Store(a.tails.open())
	}
	if sequential {
		return &yieldingFile{File: opened}, nil
	}
	return a.checked(a.cached(opened, opts), name)
}

// OpenReadWrite opens a file for ReadAt and WriteAt and creates it if it does not exist.
func (a *FS) OpenReadWrite(
	name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption,
) (vfs.File, error) {
	f, err := a.fs.OpenReadWrite(name, true)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return a.limited(applyOptions(&file{f: f, name: name}, opts), category), nil
}

// applyOptions recognises Pebble's two read patterns. Their own Apply would advise the kernel about a descriptor that
// this file does not have.
func applyOptions(f *file, opts []vfs.OpenOption) *file {
	for _, o := range opts {
		switch o {
		case vfs.SequentialReadsOption:
			f.f.SetSequential()
		case vfs.RandomReadsOption: // what a handle does anyway
		default:
			o.Apply(f)
		}
	}
	return f
}

// Remove removes a file or an empty directory.
func (a *FS) Remove(name string) error {
	a.removing.RLock()
	defer a.removing.RUnlock()
	if a.removed {
		return pathError("remove", name, blobfs.ErrClosed)
	}
	a.damaged.remove(name)
	return pathError("remove", name, a.fs.Remove(name))
}

// EndRemoves makes every later Remove fail, and waits for those that run: Pebble removes files on a goroutine of its own, also
// of an engine that could not be opened and was left behind.
func (a *FS) EndRemoves() {
	a.removing.Lock()
	defer a.removing.Unlock()
	a.removed = true
}

// RemoveAll removes name and everything below it.
func (a *FS) RemoveAll(name string) error {
	return pathError("remove", name, a.fs.RemoveAll(name))
}

// Rename renames a file atomically, also over an existing one.
func (a *FS) Rename(oldname, newname string) error {
	return linkError("rename", oldname, newname, a.fs.Rename(oldname, newname))
}

// ReuseForWrite renames oldname to newname and opens it for writing at offset 0; length and space are kept.
func (a *FS) ReuseForWrite(
	oldname, newname string, category vfs.DiskWriteCategory,
) (vfs.File, error) {
	f, err := a.fs.Reuse(oldname, newname)
	if err != nil {
		return nil, linkError("reuse", oldname, newname, err)
	}
	return logged(a.limited(&file{f: f, name: newname}, category), newname), nil
}

// MkdirAll makes a directory and its parents. BlobFS has no permission bits.
func (a *FS) MkdirAll(dir string, _ os.FileMode) error {
	return pathError("mkdir", dir, a.fs.MkdirAll(dir))
}

// List returns the base names in a directory, in order.
func (a *FS) List(dir string) ([]string, error) {
	entries, err := a.fs.List(dir)
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	names := make([]string, len(entries))
	for i := range entries {
		names[i] = entries[i].Name
	}
	return names, nil
}

// Stat describes a file or directory.
func (a *FS) Stat(name string) (vfs.FileInfo, error) {
	in, err := a.fs.Stat(name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return newInfo(name, in), nil
}

// PathBase is path.Base: names are separated by slashes on every operating system.
func (*FS) PathBase(p string) string { return path.Base(p) }

// PathJoin is path.Join.
func (*FS) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir is path.Dir.
func (*FS) PathDir(p string) string { return path.Dir(p) }

// GetDiskUsage reports the space of the store; path plays no part. What compactions may not use is not available: Pebble
// sizes them by this.
func (a *FS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	u := a.fs.Usage()
	return vfs.DiskUsage{
		AvailBytes: uint64(max(0, min(u.FreeBytes, a.opts.Available()-a.opts.CompactionFloor))),
		TotalBytes: uint64(u.TotalBytes),
		UsedBytes:  uint64(u.UsedBytes),
	}, nil
}

// Unwrap returns Options.Base, nil by default: this is not a wrapper.
func (a *FS) Unwrap() vfs.FS { return a.opts.Base }

// Lock takes the exclusive lock of a name for this process; see lock.go.
func (a *FS) Lock(name string) (io.Closer, error) { return a.lock(name) }

// OpenDir opens a directory for syncing; see dir.go.
func (a *FS) OpenDir(name string) (vfs.File, error) { return a.openDir(name) }
