package vfsadapter

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The categories in which Pebble's compactions write tables and blob files, as it names them when it creates a file.
const (
	categoryCompaction  vfs.DiskWriteCategory = "pebble-compaction"
	categoryBlobRewrite vfs.DiskWriteCategory = "pebble-blob-file-rewrite"
)

// growAhead is how far BlobFS takes clusters ahead of a file that is appended to (it doubles, up to this), in bytes. A
// write near the floor must not go below it that way.
const growAhead = 8 << 20

// A refused write takes a while to fail, longer each time until a table is finished: Pebble starts a failed
// compaction again at once, and would write up to the floor and fail again until space is freed.
const (
	firstRefusalDelay = 50 * time.Millisecond
	maxRefusalDelay   = time.Second
)

// limitedFile is a table that leaves the last free bytes to logs and flushes.
type limitedFile struct {
	*file
	fs      *FS
	written int64 // bytes
}

// limited applies the floor to files of compactions.
func (a *FS) limited(f *file, category vfs.DiskWriteCategory) vfs.File {
	limited := category == categoryCompaction || category == categoryBlobRewrite
	if limited && a.opts.CompactionFloor > 0 {
		return &limitedFile{file: f, fs: a}
	}
	return f
}

func (f *limitedFile) Write(p []byte) (int, error) {
	for {
		avail, floor := f.fs.opts.Available(), f.fs.opts.CompactionFloor
		if avail-int64(len(p))-min(f.written, growAhead) >= floor {
			break
		}
		if !f.fs.opts.AwaitRoom() {
			f.fs.refusals.pause()
			return 0, ioError("write", f.name, fmt.Errorf(
				"%d bytes available, %d of them kept for logs and flushes: %w", avail, floor, syscall.ENOSPC))
		}
	}
	n, err := f.file.Write(p)
	f.written += int64(n)
	return n, err
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
