package goleveldb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/blobkv/blobkv/blobfs"
)

// Storage is a goleveldb storage in a folder of a mounted blobfs. Safe for any goroutine.
type Storage struct {
	fs     *blobfs.FS
	folder string

	mu     sync.Mutex
	locked bool // guarded by mu
}

var _ storage.Storage = (*Storage)(nil)

// NewStorage makes the folder if it does not exist.
func NewStorage(fs *blobfs.FS, folder string) (*Storage, error) {
	return &Storage{fs: fs, folder: folder}, fs.MkdirAll(folder)
}

// Names of the file that points to the manifest, and of the one that will replace it.
const (
	current    = "CURRENT"
	currentNew = "CURRENT.new"
)

func (s *Storage) path(name string) string { return path.Join(s.folder, name) }

func (s *Storage) pathOf(fd storage.FileDesc) string { return s.path(fd.String()) }

// unlocker is what Lock has given out.
type unlocker struct{ s *Storage }

// Unlock implements storage.Locker.
func (u unlocker) Unlock() {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	u.s.locked = false
}

// Lock implements storage.Storage among the users of this value.
func (s *Storage) Lock() (storage.Locker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locked {
		return nil, storage.ErrLocked
	}
	s.locked = true
	return unlocker{s}, nil
}

// Log implements storage.Storage.
func (s *Storage) Log(string) {}

// SetMeta implements storage.Storage: the new pointer is complete before it takes the place of the old one.
func (s *Storage) SetMeta(fd storage.FileDesc) error {
	if !storage.FileDescOk(fd) {
		return storage.ErrInvalidFile
	}
	f, err := s.fs.Create(s.path(currentNew))
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(fd.String() + "\n"))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.fs.Rename(s.path(currentNew), s.path(current)); err != nil {
		return err
	}
	return s.fs.Sync()
}

// GetMeta implements storage.Storage.
func (s *Storage) GetMeta() (storage.FileDesc, error) {
	f, err := s.fs.Open(s.path(current))
	if err != nil {
		return storage.FileDesc{}, notExist(err)
	}
	text, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return storage.FileDesc{}, err
	}
	fd, ok := parseName(strings.TrimSuffix(string(text), "\n"))
	if !ok {
		return fd, &storage.ErrCorrupted{Err: fmt.Errorf("%s holds %q", current, text)}
	}
	_, err = s.fs.Stat(s.pathOf(fd))
	return fd, notExist(err)
}

// List implements storage.Storage.
func (s *Storage) List(types storage.FileType) ([]storage.FileDesc, error) {
	entries, err := s.fs.List(s.folder)
	if err != nil {
		return nil, err
	}
	var fds []storage.FileDesc
	for _, entry := range entries {
		if fd, ok := parseName(entry.Name); ok && fd.Type&types != 0 {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// parseName is the inverse of storage.FileDesc.String.
func parseName(name string) (storage.FileDesc, bool) {
	for _, f := range []struct {
		format string
		kind   storage.FileType
	}{
		{"MANIFEST-%d", storage.TypeManifest}, {"%d.log", storage.TypeJournal},
		{"%d.ldb", storage.TypeTable}, {"%d.tmp", storage.TypeTemp},
	} {
		fd := storage.FileDesc{Type: f.kind}
		if _, err := fmt.Sscanf(name, f.format, &fd.Num); err == nil && fd.String() == name {
			return fd, true
		}
	}
	return storage.FileDesc{}, false
}

// reader adds an offset to an open file.
type reader struct {
	*io.SectionReader
	f *blobfs.File
}

// Close implements io.Closer.
func (r reader) Close() error { return r.f.Close() }

// Open implements storage.Storage.
func (s *Storage) Open(fd storage.FileDesc) (storage.Reader, error) {
	f, err := s.fs.Open(s.pathOf(fd))
	if err != nil {
		return nil, notExist(err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return reader{io.NewSectionReader(f, 0, info.Size), f}, nil
}

// Create implements storage.Storage. There is no sync of the folder: blobfs makes a file's names durable with its bytes.
func (s *Storage) Create(fd storage.FileDesc) (storage.Writer, error) {
	f, err := s.fs.Create(s.pathOf(fd))
	if err != nil {
		return nil, err // and no handle that is not nil to the interface
	}
	return f, nil
}

// Remove implements storage.Storage.
func (s *Storage) Remove(fd storage.FileDesc) error { return notExist(s.fs.Remove(s.pathOf(fd))) }

// Rename implements storage.Storage.
func (s *Storage) Rename(from, to storage.FileDesc) error {
	return notExist(s.fs.Rename(s.pathOf(from), s.pathOf(to)))
}

// Close implements storage.Storage. The file system stays mounted.
func (s *Storage) Close() error { return nil }

// notExist turns the error into the one that goleveldb compares with.
func notExist(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return os.ErrNotExist
	}
	return err
}
