package vfsadapter

import (
	"runtime"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// categoryFlush is the category in which Pebble's flushes write tables.
const categoryFlush vfs.DiskWriteCategory = "pebble-memtable-flush"

// yieldingFile is a table that a flush or a compaction makes. Its writes land in memory and do not wait, so that whoever
// makes it would compute for a whole time slice of the scheduler (10 ms) while readers whose block has come wait for a
// processor; on a kernel's file system the system calls break such a slice up. A yield for each block it writes does so here.
type yieldingFile struct{ vfs.File }

// yielding makes files of flushes and compactions yield.
func yielding(f vfs.File, category vfs.DiskWriteCategory) vfs.File {
	switch category {
	case categoryFlush, categoryCompaction, categoryBlobRewrite:
		return yieldingFile{f}
	}
	return f
}

func (f yieldingFile) Write(p []byte) (int, error) {
	runtime.Gosched()
	return f.File.Write(p)
}
