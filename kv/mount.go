package kv

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// mount opens the file system on dev, making it first if there is none and the options ask for one.
func mount(dev *bdev.Device, o *Options) (*blobfs.FS, error) {
	if o.CreateIfMissing && dev.Fresh() {
		return formatAndMount(dev)
	}
	fs, err := blobfs.Open(dev, blobfs.Options{ReadOnly: o.ReadOnly})
	if !errors.Is(err, blobstore.ErrNotBlobstore) {
		return fs, err
	}
	if !o.CreateIfMissing {
		return nil, fmt.Errorf("%w (CreateIfMissing makes a store on an empty device)", err)
	}
	return formatAndMount(dev)
}

// formatAndMount makes a file system. Format itself refuses a device that holds anything.
func formatAndMount(dev *bdev.Device) (*blobfs.FS, error) {
	err := blobfs.Format(dev, blobfs.FormatOptions{})
	if errors.Is(err, bdev.ErrNoSpace) {
		return nil, fmt.Errorf("%w: %s", err, open.HostFullAdvice)
	}
	if err != nil {
		return nil, err
	}
	return blobfs.Open(dev, blobfs.Options{})
}

// deviceError explains why the device could not be opened; err names the device.
func deviceError(name string, o *Options, err error) error {
	if errors.Is(err, bdev.ErrUnsupported) { // a folder, or what else is no device
		return fmt.Errorf("%w: %w", ErrDevice, err)
	}
	if !errors.Is(err, bdev.ErrNotExist) && !isNotExist(err) {
		return wrap(err)
	}
	if o.CreateIfMissing && open.ImagePath(name) == "" { // a controller is never made
		return fmt.Errorf("%w: %w", ErrNotStore, err)
	}
	if o.CreateIfMissing {
		return fmt.Errorf("%w: %w (the folder of an image must exist)", ErrNotStore, err)
	}
	return fmt.Errorf("%w: %w (CreateIfMissing makes it)", ErrNotStore, err)
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
