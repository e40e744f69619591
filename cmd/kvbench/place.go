package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/internal/procstat"
	"github.com/blobkv/blobkv/kv"
)

// placeKind is what a store lies on.
type placeKind string

const (
	placeImage  placeKind = "image"  // a regular file that holds a blobkv store
	placeDevice placeKind = "device" // a whole device of the machine
	placeRAM    placeKind = "ram"    // gone when the store is closed
	placeFolder placeKind = "folder" // a folder of the kernel's file system that holds the host engine's store
)

// markerName is the file by which kvbench knows a folder it may wipe.
const markerName = "KVBENCH"

const markerText = "kvbench keeps a benchmark store in this folder and wipes it when asked to.\n"

// place is where a store lies. It travels to the engine process.
type place struct {
	Kind   placeKind `json:"kind"`
	Device string    `json:"device,omitempty"` // as --device names it; "" for a folder
	Path   string    `json:"path,omitempty"`   // of the image, the device node or the folder; "" where there is none
	Policy string    `json:"policy,omitempty"` // how completions are awaited
}

// String names the place in a report.
func (p place) String() string {
	if p.Device != "" {
		return p.Device
	}
	return p.Path
}

// exists says whether something is there that must not be wiped unasked. Of a device only opening it can tell.
func (p place) exists() (bool, error) {
	switch p.Kind {
	case placeImage:
		_, err := os.Lstat(p.Path) // also an empty file is somebody's
		return err == nil, ignoreNotExist(err)
	case placeFolder:
		entries, err := os.ReadDir(p.Path)
		return len(entries) > 0, ignoreNotExist(err)
	}
	return false, nil
}

// existsError says what to do about a place that is taken. The advice to wipe is only for what would be wiped.
func existsError(p place) error {
	if p.Kind == placeImage {
		if err := p.checkOurs(); err != nil {
			return err
		}
	}
	return usagef("%s holds a store: use it with --use_existing_db or wipe it with --destroy", p)
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// wipe removes the store that is there, if it is one of the engine's. Anything else is refused.
func (p place) wipe() error {
	there, err := p.exists()
	if err != nil {
		return err
	}
	switch p.Kind {
	case placeFolder:
		if there {
			return p.wipeFolder()
		}
	case placeImage:
		if there {
			return p.wipeImage()
		}
	case placeDevice:
		return p.wipeDevice()
	}
	return nil
}

func (p place) wipeFolder() error {
	if _, err := os.Stat(filepath.Join(p.Path, markerName)); err != nil {
		return usagef("%s was not made by kvbench (it has no file %s): it is not wiped", p.Path, markerName)
	}
	if err := os.RemoveAll(p.Path); err != nil {
		return err
	}
	return p.makeFolder()
}

// makeFolder makes the folder with its marker.
func (p place) makeFolder() error {
	if err := os.MkdirAll(p.Path, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.Path, markerName), []byte(markerText), 0o600)
}

// wipeImage removes the file instead of formatting it, so that the next store starts on storage that the host's file
// system has not allocated yet, just as a new folder does.
func (p place) wipeImage() error {
	if err := p.checkOurs(); err != nil {
		return err
	}
	return os.Remove(p.Path)
}

func (p place) wipeDevice() error {
	if err := p.checkOurs(); err != nil {
		if errors.Is(err, kv.ErrNotStore) {
			return nil // empty, or something else: formatting will tell and refuse what is not empty
		}
		return err
	}
	dev, err := open.Device(p.Device, open.Options{})
	if err != nil {
		return err
	}
	o := blobfs.FormatOptions{}
	o.Force = true
	return errors.Join(blobfs.Format(dev, o), dev.Close())
}

// checkOurs opens the store to read: what cannot be opened is not known to be ours.
func (p place) checkOurs() error {
	db, err := kv.Open(p.Device, &kv.Options{ReadOnly: true})
	if err == nil {
		return db.Close()
	}
	if errors.Is(err, kv.ErrInUse) {
		return err
	}
	return &refusal{fmt.Sprintf("%s cannot be opened as a blobkv store, so it is neither used nor wiped: %v", p.Device, err), err}
}

// refusal is a usage error with a cause.
type refusal struct {
	text  string
	cause error
}

func (r *refusal) Error() string        { return r.text }
func (r *refusal) Unwrap() error        { return r.cause }
func (r *refusal) Is(target error) bool { return target == errUsage }

// host returns a path whose file system and disk carry the store; "" if there is none.
func (p place) host() string {
	switch p.Kind {
	case placeImage:
		return filepath.Dir(p.Path)
	case placeFolder, placeDevice:
		return p.Path
	}
	return ""
}

// sync waits for the write-back of the file system under the store.
func (p place) sync() error {
	if p.Kind != placeImage && p.Kind != placeFolder {
		return nil
	}
	err := procstat.SyncFS(p.host())
	if errors.Is(err, procstat.ErrUnsupported) {
		return nil
	}
	return err
}
