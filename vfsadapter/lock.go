package vfsadapter

import (
	"errors"
	"io"
	"path"
	"sync"
	"syscall"

	"github.com/blobkv/blobkv/blobfs"
)

// fileLock is a lock that Lock has given out.
type fileLock struct {
	fs   *FS
	key  string
	once sync.Once
}

// lock excludes other users of the name in this process; other processes are excluded by the lock of the device. The
// lock file exists so that listings show it, and leaves nothing to clean up after a crash.
func (a *FS) lock(name string) (io.Closer, error) {
	key := path.Clean("/" + name)
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, held := a.mu.locked[key]; held {
		return nil, pathError("lock", name, syscall.EAGAIN)
	}
	if err := a.ensureEmpty(name); err != nil {
		return nil, pathError("lock", name, err)
	}
	a.mu.locked[key] = struct{}{}
	return &fileLock{fs: a, key: key}, nil
}

// ensureEmpty creates the lock file unless it is there already: opening a store again and again changes nothing. A
// read-only mount has no need of it.
func (a *FS) ensureEmpty(name string) error {
	if in, err := a.fs.Stat(name); err == nil && !in.Dir && in.Size == 0 {
		return nil
	}
	f, err := a.fs.Create(name)
	if errors.Is(err, blobfs.ErrReadOnly) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// Close releases the lock, once.
func (l *fileLock) Close() error {
	l.once.Do(func() {
		l.fs.mu.Lock()
		defer l.fs.mu.Unlock()
		delete(l.fs.mu.locked, l.key)
	})
	return nil
}
