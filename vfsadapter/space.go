package vfsadapter

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The categories in which Pebble writes tables and blob files, as it names them when it creates a file.
const (
	categoryFlush       vfs.DiskWriteCategory = "pebble-memtable-flush"
	categoryCompaction  vfs.DiskWriteCategory = "pebble-compaction"
	categoryBlobRewrite vfs.DiskWriteCategory = "pebble-blob-file-rewrite"
)

// A refused write takes a while to fail, longer each time until a table is finished: Pebble starts a failed flush or
// compaction again at once, and would write up to the floor and fail again until space is freed.
const (
	firstRefusalDelay = 50 * time.Millisecond
	maxRefusalDelay   = time.Second
)

// limitedFile is a table that leaves the last free bytes to the log.
type limitedFile struct {
	*file
	fs    *FS
	floor int64 // bytes that stay available
}

// limited applies the floor of the category, if it has one.
func (a *FS) limited(f *file, category vfs.DiskWriteCategory) vfs.File {
	if floor := a.floor(category); floor > 0 {
		return &limitedFile{file: f, fs: a, floor: floor}
	}
	return f
}

func (a *FS) floor(category vfs.DiskWriteCategory) int64 {
	switch category {
	case categoryFlush:
		return a.opts.FlushFloor
	case categoryCompaction, categoryBlobRewrite:
		return a.opts.CompactionFloor
	default:
		return 0
	}
}

func (f *limitedFile) Write(p []byte) (int, error) {
	if avail := f.fs.opts.Available(); avail-int64(len(p)) < f.floor {
		f.fs.refusals.pause()
		return 0, ioError("write", f.name, fmt.Errorf(
			"%d bytes available, %d of them kept for the log: %w", avail, f.floor, syscall.ENOSPC))
	}
	return f.file.Write(p)
}

// SyncData ends a table.
func (f *limitedFile) SyncData() error {
	err := f.file.SyncData()
	if err == nil {
		f.fs.refusals.reset()
	}
	return err
}

// refusals delays refused writes.
type refusals struct {
	n     atomic.Int32  // since a table was finished
	delay time.Duration // of the first one
}

func (r *refusals) pause() {
	n := min(r.n.Add(1)-1, 10)
	time.Sleep(min(r.delay<<n, maxRefusalDelay))
}

func (r *refusals) reset() { r.n.Store(0) }
