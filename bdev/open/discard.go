package open

import (
	"errors"
	"os"

	"github.com/blobkv/blobkv/bdev"
)

// Discard closes a device that whoever opened it cannot use, and removes the image if opening has made it: first, so that
// nobody else opens it meanwhile, and again afterwards for systems that keep open files.
func Discard(dev *bdev.Device) error {
	path := ""
	if dev.Fresh() {
		if spec, err := Parse(dev.Name()); err == nil {
			path = spec.Path
		}
	}
	if path == "" {
		return dev.Close()
	}
	first := os.Remove(path)
	err := dev.Close()
	if first != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
