package main

import (
	"errors"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/kv"
)

// blobStore is the key-value store of this project.
type blobStore struct {
	db   *kv.DB
	logs *engineLogger
}

func openBlobStore(device string, o *kv.Options) (store, error) {
	withLogger, logger := *o, &engineLogger{}
	withLogger.Logger = logger
	db, err := kv.Open(device, &withLogger)
	if err != nil {
		return nil, err
	}
	return &blobStore{db, logger}, nil
}

func (s *blobStore) getAppend(dst, key []byte) ([]byte, error) {
	value, err := s.db.GetAppend(dst, key)
	if errors.Is(err, kv.ErrNotFound) {
		err = errNotFound
	}
	return value, err
}

func writeOption(sync bool) kv.WriteOption {
	if sync {
		return kv.Sync
	}
	return kv.NoSync
}

func (s *blobStore) set(key, value []byte, sync bool) error {
	return s.db.Set(key, value, writeOption(sync))
}

func (s *blobStore) delete(key []byte, sync bool) error {
	return s.db.Delete(key, writeOption(sync))
}

func (s *blobStore) newIterator() (iterator, error) {
	it, err := s.db.NewIterator(nil)
	if err != nil {
		return nil, err
	}
	return it, nil
}

func (s *blobStore) fill(keys [][]byte, value []byte) error {
	b := s.db.NewBatch()
	defer b.Close()
	for _, k := range keys {
		if err := b.Set(k, value); err != nil {
			return err
		}
	}
	return b.Commit(kv.NoSync)
}

func (s *blobStore) deleteRange(start, end []byte) error {
	return s.db.DeleteRange(start, end, kv.NoSync)
}

func (s *blobStore) flush() error { return s.db.Flush() }

func (s *blobStore) metrics() storeMetrics {
	m, err := s.db.Metrics()
	if err != nil { // closed: nothing runs any more
		return storeMetrics{}
	}
	out := engineMetrics(m.Engine, s.logs)
	out.blockHits, out.blockMiss = m.Compressed.Hits, m.Compressed.Misses
	out.deviceRead, out.deviceWritten = deviceBytes(m.Device)
	return out
}

func (s *blobStore) close() error { return s.db.Close() }

// deviceBytes sums what the stack has read and written at its device. Zeros that it asks the device to write count as
// written: on most devices they are.
func deviceBytes(s bdev.Stats) (read, written int64) {
	for _, op := range []bdev.Op{bdev.OpWrite, bdev.OpWriteZeroes} {
		written += int64(s.Of(op).Bytes)
	}
	return int64(s.Of(bdev.OpRead).Bytes), written
}
