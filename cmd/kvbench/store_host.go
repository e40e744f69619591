package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	dto "github.com/prometheus/client_model/go"

	"github.com/blobkv/blobkv/kv"
)

// hostStore is Pebble on the kernel's file system, with the options that kv gives its own.
type hostStore struct {
	db   *pebble.DB
	logs *engineLogger
}

// openHostStore opens or makes the store in a folder.
func openHostStore(dir string, o *kv.Options) (store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return openPebble(vfs.Default, dir, o)
}

// openRAMStore makes a store on Pebble's own file system in memory, which is gone when it is closed.
func openRAMStore(o *kv.Options) (store, error) {
	inMemory := *o
	inMemory.CreateIfMissing, inMemory.ErrorIfExists = true, false
	return openPebble(vfs.NewMem(), "db", &inMemory)
}

func openPebble(fs vfs.FS, dir string, o *kv.Options) (store, error) {
	po := kv.PebbleOptions(o)
	po.FS = fs
	logger := &engineLogger{}
	po.Logger = logger
	events := pebble.MakeLoggingEventListener(logger) // as kv does with a logger
	po.EventListener = &events
	po.ErrorIfNotExists = !o.CreateIfMissing
	po.ErrorIfExists = o.ErrorIfExists
	db, err := pebble.Open(dir, po)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return &hostStore{db, logger}, nil
}

func (s *hostStore) getAppend(dst, key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if err != nil {
		if errors.Is(err, pebble.ErrNotFound) {
			err = errNotFound
		}
		return dst, err
	}
	dst = append(dst, value...)
	return dst, closer.Close()
}

func writeOptions(sync bool) *pebble.WriteOptions {
	if sync {
		return pebble.Sync
	}
	return pebble.NoSync
}

func (s *hostStore) set(key, value []byte, sync bool) error {
	return s.db.Set(key, value, writeOptions(sync))
}

func (s *hostStore) delete(key []byte, sync bool) error {
	return s.db.Delete(key, writeOptions(sync))
}

func (s *hostStore) newIterator() (iterator, error) { return s.db.NewIter(nil) }

func (s *hostStore) fill(keys [][]byte, value []byte) error {
	b := s.db.NewBatch()
	defer b.Close()
	for _, k := range keys {
		if err := b.Set(k, value, nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.NoSync)
}

func (s *hostStore) deleteRange(start, end []byte) error {
	return s.db.DeleteRange(start, end, pebble.NoSync)
}

func (s *hostStore) flush() error { return s.db.Flush() }

func (s *hostStore) metrics() storeMetrics { return engineMetrics(s.db.Metrics(), s.logs) }

func (s *hostStore) close() error { return s.db.Close() }

// engineMetrics picks what a report needs from Pebble's own metrics. The bytes of the log are the log writer's own:
// WAL.BytesWritten also counts what compactions within L0 read.
func engineMetrics(m *pebble.Metrics, l *engineLogger) storeMetrics {
	s := storeMetrics{
		busy:      m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0,
		logs:      l.logs.Load(),
		recycled:  l.recycled.Load(),
		written:   m.LogWriter.WriteThroughput.Bytes,
		dataBytes: int64(m.DiskSpaceUsage()),
		cacheHits: m.BlockCache.Hits,
		cacheMiss: m.BlockCache.Misses,
	}
	s.walSyncs, s.walSyncTime = walSyncs(m)
	for i := range m.Levels { // not Metrics.Total, which counts the log once more
		l := &m.Levels[i]
		s.written += int64(l.TableBytesFlushed + l.TableBytesCompacted + l.BlobBytesFlushed + l.BlobBytesCompacted)
	}
	return s
}

// walSyncs is how often the engine has synced its log, and for how long in all.
func walSyncs(m *pebble.Metrics) (n int64, total time.Duration) {
	if m.LogWriter.FsyncLatency == nil {
		return 0, 0
	}
	var h dto.Metric
	if err := m.LogWriter.FsyncLatency.Write(&h); err != nil {
		return 0, 0 // no histogram: the log was never synced
	}
	return int64(h.GetHistogram().GetSampleCount()), time.Duration(h.GetHistogram().GetSampleSum())
}
