package main

import (
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// deviceStore is the device alone in place of an engine on it: to set a key is to write as many bytes as its record in a
// log takes and to flush, one after the other over storage that was written before. No durable write takes less.
type deviceStore struct {
	dev  *bdev.Device
	buf  []byte
	next int64
}

const (
	scratchSize   = 64 << 20 // bytes of the device that are written, over and over
	deviceWrite   = 4 << 10  // the unit in which a log is written, in bytes
	recordHeader  = 32       // what log and batch put around an entry, at most
	scratchFiller = 1 << 20  // bytes written at a time before the measurement
)

// openDeviceStore opens the device, or makes the scratch file and writes all of it: the first write of a block costs the
// host's file system more, and a log in use was written before.
func openDeviceStore(p place, entry int) (store, error) {
	dev, err := open.Device(p.Device, open.Options{Create: true, Size: scratchSize})
	if err != nil {
		return nil, err
	}
	unit := max(deviceWrite, dev.BlockSize())
	s := &deviceStore{dev: dev, buf: dmabuf.Default.Get((entry + recordHeader + unit - 1) / unit * unit)}
	if dev.Fresh() {
		err = s.fillScratch()
	}
	if err == nil && s.span() < int64(len(s.buf)) {
		err = fmt.Errorf("%s has less room than one write", dev.Name())
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// span is how much of the device is used.
func (s *deviceStore) span() int64 { return min(s.dev.Size(), scratchSize) }

func (s *deviceStore) fillScratch() error {
	buf := dmabuf.Default.Get(scratchFiller)
	defer dmabuf.Default.Put(buf)
	for i := range buf {
		buf[i] = byte(i) | 1 // not zeros, which a device may take for nothing
	}
	for off := int64(0); off+scratchFiller <= s.span(); off += scratchFiller {
		if err := s.dev.Write(buf, off); err != nil {
			return err
		}
	}
	return s.dev.Flush()
}

func (s *deviceStore) set(_, value []byte, _ bool) error {
	copy(s.buf, value)
	if s.next+int64(len(s.buf)) > s.span() {
		s.next = 0
	}
	if err := s.dev.Write(s.buf, s.next); err != nil {
		return err
	}
	s.next += int64(len(s.buf))
	return s.dev.Flush()
}

// errOnlyWrites is the answer to what only an engine can do.
var errOnlyWrites = errors.New("the device takes writes, not keys")

func (*deviceStore) getAppend(dst, _ []byte) ([]byte, error) { return dst, errOnlyWrites }
func (*deviceStore) delete([]byte, bool) error               { return errOnlyWrites }
func (*deviceStore) newIterator() (iterator, error)          { return nil, errOnlyWrites }
func (*deviceStore) fill([][]byte, []byte) error             { return nil } // there is no log to prepare
func (*deviceStore) deleteRange(_, _ []byte) error           { return nil }
func (*deviceStore) flush() error                            { return nil }

func (s *deviceStore) metrics() storeMetrics {
	var m storeMetrics
	m.deviceRead, m.deviceWritten = deviceBytes(s.dev.Stats())
	return m
}

func (s *deviceStore) close() error {
	dmabuf.Default.Put(s.buf)
	return s.dev.Close()
}
