package filebdev

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/filelock"
)

// Open opens an image and locks it. Errors: bdev.ErrNotExist, bdev.ErrInUse (naming the owner where the system tells),
// bdev.ErrInvalid for sizes that do not fit, and those of package os.
func Open(path string, c Config) (*Backend, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("file: %s: %w", path, err)
	}
	b := &Backend{config: c}
	if err := b.open(path); err != nil {
		b.abandon(path)
		return nil, fmt.Errorf("file: %w", err)
	}
	return b, nil
}

// open does the steps of Open; abandon cleans up after it.
func (b *Backend) open(path string) error {
	if err := b.openFile(path); err != nil {
		return err
	}
	if err := b.lock(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := b.measure(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if b.config.Size > b.size.Load() && !b.config.ReadOnly {
		if err := b.Resize(b.config.Size); err != nil {
			return fmt.Errorf("%s: growing to %d bytes: %w", path, b.config.Size, err)
		}
	}
	if b.size.Load() < int64(b.config.BlockSize) {
		return fmt.Errorf("%s: %d bytes are less than one block of %d: %w", path, b.size.Load(), b.config.BlockSize, bdev.ErrInvalid)
	}
	if b.fresh {
		return syncFolder(filepath.Dir(path))
	}
	return nil
}

func (b *Backend) openFile(path string) (err error) {
	if err := refuseSpecial(path); err != nil {
		return err
	}
	flags := os.O_RDWR
	if b.config.ReadOnly {
		flags = os.O_RDONLY
	}
	b.f, err = os.OpenFile(path, flags, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !b.config.Create || b.config.ReadOnly {
		return fmt.Errorf("%w: %w", bdev.ErrNotExist, err)
	}
	return b.create(path)
}

// create makes the image; O_EXCL makes sure that it is ours and empty.
func (b *Backend) create(path string) (err error) {
	if b.config.Size == 0 {
		return fmt.Errorf("%s: a new image needs a size: %w", path, bdev.ErrInvalid)
	}
	b.f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	b.fresh = true
	return makeSparse(b.f)
}

// refuseSpecial keeps away from files that opening could block on or change.
func refuseSpecial(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil // opening reports it, or creates the file
	}
	if m := info.Mode(); m.IsRegular() || m&(fs.ModeDevice|fs.ModeCharDevice) == fs.ModeDevice {
		return nil
	}
	return fmt.Errorf("%s: neither a regular file nor a block device: %w", path, bdev.ErrUnsupported)
}

// lock keeps other openers out: all of them from a writer, writers from a reader.
func (b *Backend) lock() error {
	mode := filelock.Exclusive
	if b.config.ReadOnly {
		mode = filelock.Shared
	}
	err := filelock.Lock(b.f.Fd(), mode)
	if errors.Is(err, filelock.ErrHeld) {
		return &inUseError{err}
	}
	return err
}

// inUseError reads as the lock's error, which names the owner, and is bdev.ErrInUse.
type inUseError struct{ error }

func (e *inUseError) Is(target error) bool { return target == bdev.ErrInUse }
func (e *inUseError) Unwrap() error        { return e.error }

// measure finds the size; that of a block device is where it ends.
func (b *Backend) measure() error {
	info, err := b.f.Stat()
	if err != nil {
		return err
	}
	b.regular = info.Mode().IsRegular()
	size, err := b.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	b.size.Store(size)
	return nil
}

// abandon closes what a failed Open opened and removes the image it made.
func (b *Backend) abandon(path string) {
	if b.f == nil {
		return
	}
	_ = b.f.Close()
	if b.fresh {
		_ = os.Remove(path)
	}
}
