package open

import (
	"errors"
	"os"

	"github.com/blobkv/blobkv/bdev"
)

// HostFullAdvice is what to do about bdev.ErrNoSpace: the file system that holds an image is full.
const HostFullAdvice = "make room on the file system that holds the image, or make a store of a size that fits there (?size=)"

// ImagePath returns the path in a device name, "" for a device that is no file and for a name that is none.
func ImagePath(device string) string {
	spec, err := Parse(device)
	if err != nil {
		return ""
	}
	return spec.Path
}

// Discard closes a device that whoever opened it cannot use, and removes the image if opening has made it: first, so that
// nobody else opens it meanwhile, and again afterwards for systems that keep open files.
func Discard(dev *bdev.Device) error {
	path := ImagePath(dev.Name())
	if path == "" || !dev.Fresh() {
		return dev.Close()
	}
	first := os.Remove(path)
	err := dev.Close()
	if first != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
