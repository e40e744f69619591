package vfsadapter

import (
	"runtime"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// yieldingFile is a table that is read from end to end, by a compaction as a rule. Most of its reads find their bytes in
// memory and do not wait, so that a compaction would compute for a whole time slice of the scheduler (10 ms) while a reader
// whose block has come waits for a processor. On a kernel's file system the system calls break such a slice up; a yield for each
// block does so here. It is in the reads, which the goroutine that merges makes: Pebble writes tables from another
// one, and each yield of that would hold the merging up for a slice of somebody else's.
type yieldingFile struct{ vfs.File }

func (f yieldingFile) ReadAt(p []byte, off int64) (int, error) {
	runtime.Gosched()
	return f.File.ReadAt(p, off)
}
