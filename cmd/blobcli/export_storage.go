package main

import (
	"errors"

	"github.com/blobkv/blobkv/bdev"
)

// exportStorage is a block device as the storage of a software controller (softctrl.Storage), in blocks of the same size.
type exportStorage struct{ dev *bdev.Device }

// Size is in bytes.
func (s exportStorage) Size() int64 { return s.dev.Size() }

// Flush makes all completed writes durable.
func (s exportStorage) Flush() error { return s.dev.Flush() }

// Discard makes a range read as zeros.
func (s exportStorage) Discard(offset, n int64) error { return s.dev.WriteZeroes(offset, n) }

// ReadAt reads whole blocks.
func (s exportStorage) ReadAt(p []byte, offset int64) (int, error) {
	return done(p, s.dev.Read(p, offset))
}

// WriteAt writes whole blocks.
func (s exportStorage) WriteAt(p []byte, offset int64) (int, error) {
	return done(p, s.dev.Write(p, offset))
}

func done(p []byte, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// close makes everything durable and closes the device.
func (s exportStorage) close() error {
	var err error
	if !s.dev.Properties().ReadOnly {
		err = s.dev.Flush()
	}
	return errors.Join(err, s.dev.Close())
}
