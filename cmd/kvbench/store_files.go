package main

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
)

// fileStore is the file system below an engine in place of its keys: to set a key is to make a file of that name, to write
// and sync it, and to remove it. It is opened while the engine's store is closed, and leaves that as it was.
type fileStore struct {
	fs fileSystem
}

// fileSystem is what both file systems have in common.
type fileSystem interface {
	create(name string) (syncedFile, error)
	remove(name string) error
	deviceBytes() (read, written int64) // 0 where it is not known
	close() error
}

type syncedFile interface {
	io.WriteCloser
	Sync() error
}

// filesFolder holds the files, beside the engine's own.
const filesFolder = "kvbench-files"

// openFileStore opens the file system under an engine's store, which is there and not open.
func openFileStore(engine string, p place) (store, error) {
	if engine == engineHostFS {
		dir := filepath.Join(p.Path, filesFolder)
		return &fileStore{hostFiles{dir}}, os.MkdirAll(dir, 0o700)
	}
	dev, err := open.Device(p.Device, open.Options{})
	if err != nil {
		return nil, err
	}
	fs, err := blobfs.Open(dev, blobfs.Options{})
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	f := &blobFiles{fs, dev}
	if err := fs.MkdirAll("/" + filesFolder); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return &fileStore{f}, nil
}

func (s *fileStore) set(key, value []byte, sync bool) error {
	name := string(key)
	f, err := s.fs.create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), s.fs.remove(name))
}

// errOnlyFiles is the answer to what only an engine can do.
var errOnlyFiles = errors.New("the row runs on files, not on keys")

func (*fileStore) getAppend(dst, _ []byte) ([]byte, error) { return dst, errOnlyFiles }
func (*fileStore) delete([]byte, bool) error               { return errOnlyFiles }
func (*fileStore) newIterator() (iterator, error)          { return nil, errOnlyFiles }
func (*fileStore) fill([][]byte, []byte) error             { return errOnlyFiles }
func (*fileStore) deleteRange(_, _ []byte) error           { return errOnlyFiles }
func (*fileStore) flush() error                            { return nil }

func (s *fileStore) metrics() storeMetrics {
	var m storeMetrics
	m.deviceRead, m.deviceWritten = s.fs.deviceBytes()
	return m
}

func (s *fileStore) close() error { return s.fs.close() }

// blobFiles is BlobFS on our stack.
type blobFiles struct {
	fs  *blobfs.FS
	dev *bdev.Device
}

func (b *blobFiles) create(name string) (syncedFile, error) {
	return b.fs.Create(path.Join("/", filesFolder, name))
}

func (b *blobFiles) remove(name string) error { return b.fs.Remove(path.Join("/", filesFolder, name)) }

func (b *blobFiles) deviceBytes() (read, written int64) { return deviceBytes(b.dev.Stats()) }

func (b *blobFiles) close() error {
	return errors.Join(b.fs.RemoveAll("/"+filesFolder), b.fs.Close(), b.dev.Close())
}

// hostFiles is the kernel's file system.
type hostFiles struct{ dir string }

func (h hostFiles) create(name string) (syncedFile, error) {
	return os.OpenFile(filepath.Join(h.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (h hostFiles) remove(name string) error { return os.Remove(filepath.Join(h.dir, name)) }

func (hostFiles) deviceBytes() (read, written int64) { return 0, 0 }

func (h hostFiles) close() error { return os.RemoveAll(h.dir) }
