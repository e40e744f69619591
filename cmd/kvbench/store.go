package main

import (
	"errors"
	"time"
)

// store is what a workload needs of an engine. Both engines are called the same way, through the same number of layers
// that are not theirs.
type store interface {
	// getAppend appends the value of a key to dst; errNotFound if there is none.
	getAppend(dst, key []byte) ([]byte, error)
	set(key, value []byte, sync bool) error
	delete(key []byte, sync bool) error
	newIterator() (iterator, error)
	// fill writes the values under the keys in one batch, without a sync.
	fill(keys [][]byte, value []byte) error
	deleteRange(start, end []byte) error
	flush() error
	metrics() storeMetrics
	close() error
}

// iterator is what the iterators of both engines have in common.
type iterator interface {
	First() bool
	Last() bool
	SeekGE(key []byte) bool
	Next() bool
	Prev() bool
	Key() []byte
	Value() []byte
	Error() error
	Close() error
}

// errNotFound is returned by getAppend.
var errNotFound = errors.New("key not found")

// storeMetrics is what an engine knows about itself.
type storeMetrics struct {
	busy      bool  // a flush or a compaction runs
	logs      int64 // made since the store was opened
	recycled  int64 // of them, those whose file was a log before
	written   int64 // bytes the LSM engine wrote: logs, flushes, compactions
	dataBytes int64 // bytes of the store's files
	cacheHits int64
	cacheMiss int64
	blockHits int64 // of our cache of compressed blocks
	blockMiss int64

	deviceWritten int64 // bytes the stack below the engine wrote to its device; 0 where there is no such stack
	deviceRead    int64

	walSyncs    int64 // of the engine's log
	walSyncTime time.Duration
}
