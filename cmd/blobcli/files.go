package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// fileEntry is one file or directory as the commands show it.
type fileEntry struct {
	Name    string     `json:"name"`
	Dir     bool       `json:"dir"`
	Size    int64      `json:"size"`
	ModTime *time.Time `json:"mtime,omitempty"`
	Blob    string     `json:"blob"`
	Links   int        `json:"links"`
}

// fileReader is what ls, stat and cat need of a file system: ours, or the BlobFS of SPDK.
type fileReader interface {
	list(dir string) ([]fileEntry, error)
	stat(name string) (fileEntry, error)
	copyTo(w io.Writer, name string) error
	problems() []error // what could not be read as files
}

// withFiles runs f on the file system of the device, whichever of the two it is.
func (c *cli) withFiles(f func(fileReader) error) error {
	return c.withDevice(open.Options{ReadOnly: true}, func(dev *bdev.Device) error {
		fs, err := blobfs.Open(dev, blobfs.Options{ReadOnly: true})
		if err == nil {
			return errors.Join(f(ownFiles{fs}), fs.Close())
		}
		if !errors.Is(err, blobfs.ErrNotFS) {
			return err
		}
		return withLegacy(dev, err, f)
	})
}

// withLegacy tries SPDK's BlobFS; if it is not that either, the first error stands.
func withLegacy(dev *bdev.Device, notOurs error, f func(fileReader) error) error {
	s, err := blobstore.Open(dev, blobstore.OpenOptions{ReadOnly: true, Type: blobfs.LegacyType})
	if err != nil {
		return fmt.Errorf("%w (blob list shows the blobs of any blobstore)", notOurs)
	}
	l, err := blobfs.OpenLegacy(s)
	if err == nil {
		err = f(legacyFiles{l})
	}
	return errors.Join(err, s.Close())
}

// ownFiles is our file system.
type ownFiles struct{ fs *blobfs.FS }

func entryOf(name string, i blobfs.Info) fileEntry {
	mtime := i.ModTime
	return fileEntry{Name: name, Dir: i.Dir, Size: i.Size, ModTime: &mtime, Blob: i.ID.String(), Links: i.Links}
}

func (o ownFiles) list(dir string) ([]fileEntry, error) {
	info, err := o.fs.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.Dir {
		return []fileEntry{entryOf(dir, info)}, nil
	}
	entries, err := o.fs.List(dir)
	list := make([]fileEntry, 0, len(entries))
	for _, e := range entries {
		list = append(list, entryOf(e.Name, e.Info))
	}
	return list, err
}

func (o ownFiles) problems() []error { return nil }

func (o ownFiles) stat(name string) (fileEntry, error) {
	info, err := o.fs.Stat(name)
	return entryOf(name, info), err
}

func (o ownFiles) copyTo(w io.Writer, name string) error {
	f, err := o.fs.Open(name)
	if err != nil {
		return err
	}
	f.SetSequential()
	_, err = io.CopyBuffer(w, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return errors.Join(err, f.Close())
}
