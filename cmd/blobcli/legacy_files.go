package main

import (
	"fmt"
	"io"

	"github.com/blobkv/blobkv/blobfs"
)

// legacyFiles is SPDK's BlobFS. Names are flat: one that looks like a path is still one name.
type legacyFiles struct{ l *blobfs.Legacy }

func legacyEntry(f blobfs.LegacyFile) fileEntry {
	return fileEntry{Name: f.Name, Size: f.Size, Blob: f.Blob.String(), Links: 1}
}

func (l legacyFiles) list(dir string) ([]fileEntry, error) {
	if dir != "/" && dir != "" && dir != "." {
		e, err := l.stat(dir)
		return []fileEntry{e}, err
	}
	list := []fileEntry{}
	for _, f := range l.l.List() {
		list = append(list, legacyEntry(f))
	}
	return list, nil
}

// problems are the blobs that hold no sound file. They cost the others nothing.
func (l legacyFiles) problems() []error {
	var problems []error
	for _, p := range l.l.Problems() {
		problems = append(problems, fmt.Errorf("blob %v: %w", p.Blob, p.Err))
	}
	return problems
}

func (l legacyFiles) stat(name string) (fileEntry, error) {
	for _, f := range l.l.List() {
		if f.Name == name || "/"+f.Name == name {
			return legacyEntry(f), nil
		}
	}
	return fileEntry{}, fmt.Errorf("%s: %w", name, blobfs.ErrNotExist)
}

func (l legacyFiles) copyTo(w io.Writer, name string) error {
	e, err := l.stat(name)
	if err != nil {
		return err
	}
	r, err := l.l.Open(e.Name)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(w, io.NewSectionReader(r, 0, r.Size()), make([]byte, 1<<20))
	return err
}
