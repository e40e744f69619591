package vfsadapter

import (
	"encoding/binary"
	"path"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logFile is a log that is being written. Each of its chunks says how much of the log was durable when it was written: that
// is how damage is told from what a crash tears. Pebble (v2.1.7) counts too little: its flushLoop leaves out what it wrote as the
// rest of a full block, a record for each 32 KiB, and all of a large one. So damage to records that were acknowledged
// long before the crash looked like a torn end. This file knows what it has synced and says that instead. A Write of
// vfs.File may change what it is given.
type logFile struct {
	vfs.File
	num     uint32
	written int64 // bytes
	durable int64 // bytes of them that a sync has covered
}

// logged makes a log that is opened for writing from its start a logFile, and passes every other file on.
func logged(f vfs.File, name string) vfs.File {
	num, ok := logNumber(path.Base(name))
	if !ok {
		return f
	}
	return &logFile{File: f, num: uint32(num)}
}

func (f *logFile) Write(p []byte) (int, error) {
	f.sayDurable(p)
	n, err := f.File.Write(p)
	f.written += int64(n)
	return n, err
}

func (f *logFile) Sync() error { return f.synced(f.File.Sync()) }

func (f *logFile) SyncData() error { return f.synced(f.File.SyncData()) }

// synced notes the result of a sync. Writes and syncs of a vfs.File do not overlap.
func (f *logFile) synced(err error) error {
	if err == nil {
		f.durable = f.written
	}
	return err
}

// sayDurable puts what is durable into the chunks that are about to be written. Pebble writes whole ones.
func (f *logFile) sayDurable(p []byte) {
	off := f.written
	for len(p) > 0 {
		block := p[:min(int64(len(p)), logBlockSize-off%logBlockSize)]
		n := len(block) // what is no chunk ends the block
		if c, ok := chunkHeader(block, f.num); ok {
			n = c.size
			if c.hasSynced && c.synced < f.durable {
				chunk := block[:n]
				binary.LittleEndian.PutUint64(chunk[recyclableHeader:], uint64(f.durable))
				binary.LittleEndian.PutUint32(chunk, logChecksum(chunk[6:]))
			}
		}
		p, off = p[n:], off+int64(n)
	}
}
