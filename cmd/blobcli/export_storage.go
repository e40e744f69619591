package main

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/blobkv/blobkv/bdev"
)

// exportStorage is a block device as the storage of a software controller (softctrl.Storage). The controller hands over the
// pieces that the host's memory is in, which need not be whole blocks: those are read, changed and written back.
type exportStorage struct {
	dev *bdev.Device

	mu    sync.Mutex // of bytes, and one change of a part of a block at a time
	block []byte
}

func newExportStorage(dev *bdev.Device) *exportStorage {
	return &exportStorage{dev: dev, block: make([]byte, dev.BlockSize())}
}

// Size is in bytes.
func (s *exportStorage) Size() int64 { return s.dev.Size() }

// Flush makes all completed writes durable.
func (s *exportStorage) Flush() error { return s.dev.Flush() }

// Discard makes a range read as zeros.
func (s *exportStorage) Discard(offset, n int64) error { return s.dev.WriteZeroes(offset, n) }

// ReadAt reads.
func (s *exportStorage) ReadAt(p []byte, offset int64) (int, error) {
	if s.aligned(p, offset) {
		return done(p, s.dev.Read(p, offset))
	}
	return done(p, s.pieces(p, offset, s.dev.Read, s.readPart))
}

// WriteAt writes.
func (s *exportStorage) WriteAt(p []byte, offset int64) (int, error) {
	if s.aligned(p, offset) {
		return done(p, s.dev.Write(p, offset))
	}
	return done(p, s.pieces(p, offset, s.dev.Write, s.writePart))
}

func (s *exportStorage) aligned(p []byte, offset int64) bool {
	return (offset|int64(len(p)))&int64(s.dev.BlockSize()-1) == 0
}

func done(p []byte, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// pieces splits a range into the part of a block that it begins in, whole blocks, and the part that it ends in.
func (s *exportStorage) pieces(p []byte, offset int64, whole, part func([]byte, int64) error) error {
	bs := int64(len(s.block))
	if offset < 0 || int64(len(p)) > s.Size()-offset {
		return fmt.Errorf("%d bytes at %d of %d: %w", len(p), offset, s.Size(), io.ErrUnexpectedEOF)
	}
	for len(p) > 0 {
		n, f := int64(len(p)), part
		if in := offset & (bs - 1); in != 0 {
			n = min(n, bs-in)
		} else if n >= bs {
			n, f = n&^(bs-1), whole
		}
		if err := f(p[:n], offset); err != nil {
			return err
		}
		p, offset = p[n:], offset+n
	}
	return nil
}

func (s *exportStorage) readPart(p []byte, offset int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := offset & int64(len(s.block)-1)
	err := s.dev.Read(s.block, offset-in)
	copy(p, s.block[in:])
	return err
}

func (s *exportStorage) writePart(p []byte, offset int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := offset & int64(len(s.block)-1)
	if err := s.dev.Read(s.block, offset-in); err != nil {
		return err
	}
	copy(s.block[in:], p)
	return s.dev.Write(s.block, offset-in)
}

// close makes everything durable and closes the device.
func (s *exportStorage) close() error {
	var err error
	if !s.dev.Properties().ReadOnly {
		err = s.dev.Flush()
	}
	return errors.Join(err, s.dev.Close())
}
