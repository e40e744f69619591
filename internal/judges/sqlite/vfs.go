package sqlite

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/blobkv/blobkv/blobfs"
)

// Options of a VFS. The zero value is a choice that is always right.
type Options struct {
	// SafeAppend declares IOCAP_SAFE_APPEND; deviceCharacteristics says when not to.
	SafeAppend bool
	// SharedFolder is a folder of the host, empty and for this VFS alone, where WAL indexes are shared between
	// connections. They hold nothing that matters after a crash. Without one, WAL needs locking_mode=EXCLUSIVE.
	SharedFolder string
}

// VFS is a SQLite file system on a mounted blobfs. Safe for any goroutine.
type VFS struct {
	fs      *blobfs.FS
	name    string
	options Options
	temps   atomic.Int64 // temporary files made so far

	mu struct {
		sync.Mutex
		locks map[string]*fileLock // of open databases, by path
	}
}

var registered atomic.Int64

// Register makes a VFS known to SQLite under a name of its own. Unregister it when no connection uses it.
func Register(fs *blobfs.FS, o Options) *VFS {
	v := &VFS{fs: fs, options: o, name: fmt.Sprintf("blobfs%d", registered.Add(1))}
	v.mu.locks = map[string]*fileLock{}
	vfs.Register(v.name, v)
	return v
}

// Unregister makes SQLite forget the VFS.
func (v *VFS) Unregister() { vfs.Unregister(v.name) }

// URI is what a database is opened or attached by.
func (v *VFS) URI(name string) string { return "file:" + name + "?vfs=" + v.name }

// Open implements vfs.VFS. A file that is deleted on close loses its name at once and lives as long as its handle; one
// without a name gets one for that moment.
func (v *VFS) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if name == "" {
		name = fmt.Sprintf("/temporary-%d", v.temps.Add(1))
		flags |= vfs.OPEN_DELETEONCLOSE
	}
	handle, err := v.open(name, flags)
	if err != nil {
		return nil, flags, ioError(err, sqlite3.CANTOPEN)
	}
	if flags&vfs.OPEN_DELETEONCLOSE != 0 {
		if err := v.fs.Remove(name); err != nil {
			_ = handle.Close() // the first error says more
			return nil, flags, ioError(err, sqlite3.CANTOPEN)
		}
	}
	f := &file{File: handle, vfs: v, path: name}
	if flags&vfs.OPEN_MAIN_DB != 0 {
		f.lock = v.lockOf(name)
		f.shared = v.sharedMemory(name, flags)
	}
	return f, flags, nil
}

func (v *VFS) open(name string, flags vfs.OpenFlag) (*blobfs.File, error) {
	switch {
	case flags&vfs.OPEN_READONLY != 0:
		return v.fs.Open(name)
	case flags&vfs.OPEN_EXCLUSIVE != 0 && v.exists(name):
		return nil, blobfs.ErrExist
	}
	return v.fs.OpenReadWrite(name, flags&vfs.OPEN_CREATE != 0)
}

func (v *VFS) exists(name string) bool {
	_, err := v.fs.Stat(name)
	return err == nil
}

// sharedMemory returns nil where there is none.
func (v *VFS) sharedMemory(name string, flags vfs.OpenFlag) vfs.SharedMemory {
	if v.options.SharedFolder == "" {
		return nil
	}
	index := strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/", "-") + "-shm"
	return vfs.NewSharedMemory(filepath.Join(v.options.SharedFolder, index), flags)
}

// Delete implements vfs.VFS.
func (v *VFS) Delete(name string, syncDir bool) error {
	err := v.fs.Remove(name)
	if errors.Is(err, iofs.ErrNotExist) {
		return sqlite3.IOERR_DELETE_NOENT
	}
	if err == nil && syncDir {
		err = v.fs.Sync()
	}
	return ioError(err, sqlite3.IOERR_DELETE)
}

// Access implements vfs.VFS. What exists can be read and written.
func (v *VFS) Access(name string, _ vfs.AccessFlag) (bool, error) {
	_, err := v.fs.Stat(name)
	if errors.Is(err, iofs.ErrNotExist) {
		return false, nil
	}
	return err == nil, ioError(err, sqlite3.IOERR_ACCESS)
}

// FullPathname implements vfs.VFS.
func (v *VFS) FullPathname(name string) (string, error) { return path.Clean("/" + name), nil }

// ioError is an error of blobfs in SQLite's terms. SQLite rolls back and goes on when there is no space.
func ioError[C sqlite3.ErrorCode | sqlite3.ExtendedErrorCode](err error, code C) error {
	if errors.Is(err, blobfs.ErrNoSpace) {
		return vfs.SystemError(err, sqlite3.FULL)
	}
	return vfs.SystemError(err, code)
}
