package sqlite

import (
	"io"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// file is an open file. One connection uses it, one call at a time.
type file struct {
	*blobfs.File
	vfs    *VFS
	path   string
	lock   *fileLock // nil for all but databases
	level  vfs.LockLevel
	shared vfs.SharedMemory // nil where there is none
}

var (
	_ vfs.FileLockState    = (*file)(nil)
	_ vfs.FileSizeHint     = (*file)(nil)
	_ vfs.FileSharedMemory = (*file)(nil)
)

// ReadAt implements vfs.File. SQLite wants zeros behind the end of the file, which its binding fills in when the error
// is io.EOF.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if err == io.EOF {
		return n, err
	}
	return n, ioError(err, sqlite3.IOERR_READ)
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, ioError(err, sqlite3.IOERR_WRITE)
}

// Truncate implements vfs.File.
func (f *file) Truncate(size int64) error {
	return ioError(f.File.Truncate(size), sqlite3.IOERR_TRUNCATE)
}

// Sync implements vfs.File. All of SQLite's kinds are the same here: blobfs has one sync, which makes bytes, length and
// names durable, so that a new journal needs no sync of its directory either.
func (f *file) Sync(vfs.SyncFlag) error {
	return ioError(f.File.Sync(), sqlite3.IOERR_FSYNC)
}

// Size implements vfs.File.
func (f *file) Size() (int64, error) {
	info, err := f.Stat()
	return info.Size, ioError(err, sqlite3.IOERR_FSTAT)
}

// SizeHint implements vfs.FileSizeHint: the database is about to grow that far.
func (f *file) SizeHint(size int64) error {
	return ioError(f.Preallocate(0, size), sqlite3.IOERR_WRITE)
}

// SharedMemory implements vfs.FileSharedMemory.
func (f *file) SharedMemory() vfs.SharedMemory { return f.shared }

// SectorSize implements vfs.File: blobfs writes its blocks whole.
func (f *file) SectorSize() int { return blobstore.BlockSize }

// DeviceCharacteristics implements vfs.File. Declared is only what blobfs promises:
//
//   - POWERSAFE_OVERWRITE: a power cut keeps any of the bytes written since the last sync and changes no others. A
//     block is rewritten whole, but with the same bytes around the new ones, and the device tears between units of
//     its own (512 bytes or more), never inside one.
//   - SUBPAGE_READ: bytes are stored as they are, so any range may be read.
//   - SAFE_APPEND, if it was asked for: a length never covers bytes that were not written. SQLite then syncs a journal
//     once and takes all of it for valid. It does so with journals that it overwrites, too (journal_mode=PERSIST),
//     where nothing is appended and the promise means nothing. So it is not declared where that mode is used.
//
// Not declared: ATOMIC of any size, as a page may tear and an overwrite is no transaction; SEQUENTIAL, as unsynced
// writes land in any order; BATCH_ATOMIC, as transactions hold metadata only; UNDELETABLE_WHEN_OPEN, as an open file
// may be removed.
func (f *file) DeviceCharacteristics() vfs.DeviceCharacteristic {
	promised := vfs.IOCAP_POWERSAFE_OVERWRITE | vfs.IOCAP_SUBPAGE_READ
	if f.vfs.options.SafeAppend {
		promised |= vfs.IOCAP_SAFE_APPEND
	}
	return promised
}

// Close implements vfs.File.
func (f *file) Close() error {
	if f.shared != nil {
		_ = f.shared.Close() // a file of the host that is worth nothing from now on
	}
	if f.lock != nil {
		_ = f.Unlock(vfs.LOCK_NONE) // cannot fail
		f.vfs.forget(f.path)
	}
	return ioError(f.File.Close(), sqlite3.IOERR_CLOSE)
}
