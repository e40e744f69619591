package main

import (
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

// exportStorage is a block device as the storage of a software controller (softctrl.Storage), in blocks of the same size. It
// tells log why a client is refused, who sees no more than a status.
type exportStorage struct {
	dev *bdev.Device
	log func(text string) // takes any number of texts at any speed
}

// forController has queues where the device has.
func (s exportStorage) forController() softctrl.Storage {
	if s.queues(bdev.OpRead) {
		return queuedStorage{s}
	}
	return s
}

// queues tells whether the device works on many operations of a kind at a time by itself. What a goroutine waits for is better carried out
// by the server's own: of two processors the client has one and the server the other, and a third thread waits for either to pause
// (fdatasync took 1.3 ms instead of 0.2 that way).
func (s exportStorage) queues(op bdev.Op) bool {
	p := s.dev.Properties()
	return p.Native.Has(op) && !p.Sync.Has(op)
}

// Size is in bytes.
func (s exportStorage) Size() int64 { return s.dev.Size() }

// Flush makes all completed writes durable.
func (s exportStorage) Flush() error { return s.told(s.dev.Flush()) }

// Discard makes a range read as zeros.
func (s exportStorage) Discard(offset, n int64) error {
	return s.told(s.dev.WriteZeroes(offset, n))
}

// ReadAt reads whole blocks.
func (s exportStorage) ReadAt(p []byte, offset int64) (int, error) {
	return done(p, s.told(s.dev.Read(p, offset)))
}

// WriteAt writes whole blocks.
func (s exportStorage) WriteAt(p []byte, offset int64) (int, error) {
	return done(p, s.told(s.dev.Write(p, offset)))
}

// told passes an error on in the terms of the controller, and logs it.
func (s exportStorage) told(err error) error {
	if err == nil {
		return nil
	}
	s.log(err.Error())
	if errors.Is(err, bdev.ErrNoSpace) {
		return fmt.Errorf("%w: %w", softctrl.ErrNoSpace, err)
	}
	return err
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
