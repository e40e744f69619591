package vfsadapter

import (
	"runtime"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// yieldEvery is how much of a table is read between two yields, in bytes: a compaction computes for some 200 µs with that.
// A yield for each block would cost a scan, which opens its tables the same way, a fifth of its speed.
const yieldEvery = 16 << 10

// yieldingFile is a table that is read from end to end, by a compaction as a rule. Most of its reads find their bytes in
// memory and do not wait, so that a compaction would compute for a whole time slice of the scheduler (10 ms) while a reader
// whose block has come waits for a processor. On a kernel's file system the system calls break such a slice up; yields
// do so here. They are in the reads, which the goroutine that merges makes: Pebble writes tables from another one, and
// each yield of that would hold the merging up for a slice of somebody else's.
type yieldingFile struct {
	vfs.File
	since atomic.Int64 // bytes read since the last yield
}

func (f *yieldingFile) ReadAt(p []byte, off int64) (int, error) {
	if f.since.Add(int64(len(p))) >= yieldEvery {
		f.since.Store(0)
		runtime.Gosched()
	}
	return f.File.ReadAt(p, off)
}
