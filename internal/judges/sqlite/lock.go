package sqlite

import (
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// fileLock is the lock of one database among the connections of this process; the lock on the device keeps other
// processes out.
type fileLock struct {
	users int // open files, guarded by VFS.mu

	mu       sync.Mutex
	readers  int   // files at SHARED or above
	reserved *file // the one at RESERVED or above
	pending  *file // the one that lets no new readers in
}

// lockOf returns the lock of a database that is being opened.
func (v *VFS) lockOf(path string) *fileLock {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.mu.locks[path]
	if l == nil {
		l = &fileLock{}
		v.mu.locks[path] = l
	}
	l.users++
	return l
}

// forget is called once for each lockOf.
func (v *VFS) forget(path string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.mu.locks[path]
	if l.users--; l.users == 0 {
		delete(v.mu.locks, path)
	}
}

// Lock implements vfs.File. Files without a lock are private to their connection.
func (f *file) Lock(level vfs.LockLevel) error {
	if f.lock == nil || f.level >= level {
		return nil
	}
	f.lock.mu.Lock()
	defer f.lock.mu.Unlock()
	switch level {
	case vfs.LOCK_SHARED:
		return f.lockShared()
	case vfs.LOCK_RESERVED:
		return f.lockReserved()
	default:
		return f.lockExclusive()
	}
}

func (f *file) lockShared() error {
	if f.lock.pending != nil {
		return sqlite3.BUSY
	}
	f.lock.readers++
	f.level = vfs.LOCK_SHARED
	return nil
}

func (f *file) lockReserved() error {
	if f.lock.reserved != nil || f.lock.pending != nil {
		return sqlite3.BUSY
	}
	f.lock.reserved = f
	f.level = vfs.LOCK_RESERVED
	return nil
}

// lockExclusive waits at PENDING for the readers to leave, so that a writer does not starve. Coming from SHARED, to roll
// back a journal that a crash has left, it waits for nothing.
func (f *file) lockExclusive() error {
	l := f.lock
	if l.pending != nil && l.pending != f {
		return sqlite3.BUSY
	}
	if f.level >= vfs.LOCK_RESERVED {
		l.pending = f
		f.level = vfs.LOCK_PENDING
	}
	if l.readers > 1 {
		return sqlite3.BUSY
	}
	l.pending = f
	f.level = vfs.LOCK_EXCLUSIVE
	return nil
}

// Unlock implements vfs.File.
func (f *file) Unlock(level vfs.LockLevel) error {
	if f.lock == nil || f.level <= level {
		return nil
	}
	l := f.lock
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reserved == f {
		l.reserved = nil
	}
	if l.pending == f {
		l.pending = nil
	}
	if level == vfs.LOCK_NONE {
		l.readers--
	}
	f.level = level
	return nil
}

// CheckReservedLock implements vfs.File.
func (f *file) CheckReservedLock() (bool, error) {
	if f.lock == nil {
		return false, nil
	}
	f.lock.mu.Lock()
	defer f.lock.mu.Unlock()
	return f.lock.reserved != nil, nil
}

// LockState implements vfs.FileLockState.
func (f *file) LockState() vfs.LockLevel { return f.level }
