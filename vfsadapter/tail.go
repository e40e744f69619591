package vfsadapter

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobkv/blobkv/blobfs"
)

const (
	// tailSize is how much of a table's end is read at once when it is opened, in bytes. Pebble reads footer, metaindex,
	// properties, index and filter one after the other, which of a table of 2 MiB all lie there.
	tailSize = 64 << 10
	// tailReads is how many reads the end may answer before it is given up: opening a table takes six at most, and what
	// comes later is the block cache's to keep.
	tailReads = 8
	// maxTails is how many tables keep their end. One that only compactions read, through handles of their own, would keep
	// it as long as it is open.
	maxTails = 16
)

// tail is the end of a table that was just opened. It is filled if the first read is that of the footer, and given up by
// the first read that does not lie in it, so that a table which stays open keeps no memory.
type tail struct {
	mu      sync.Mutex
	buf     *[tailSize]byte // nil until it is filled
	data    []byte          // of buf
	off     int64           // of data in the file
	version uint64          // of the content
	reads   int             // answered
	over    bool
}

// tails are the ends of the tables that were opened last.
type tails struct {
	mu     sync.Mutex
	recent [maxTails]*tail
	opened int
}

// open returns the tail of a table that is being opened; the oldest is given up for it.
func (ts *tails) open() *tail {
	t := &tail{}
	ts.mu.Lock()
	i := ts.opened % maxTails
	oldest := ts.recent[i]
	ts.recent[i] = t
	ts.opened++
	ts.mu.Unlock()
	if oldest != nil {
		oldest.close()
	}
	return t
}

var tailBuffers = sync.Pool{New: func() any { return new([tailSize]byte) }}

// read copies the bytes at off if they are in the end of the file. last says that the tail has no more to give. It returns
// false also when anything is in doubt: the reader then asks the file itself and gets its errors.
func (t *tail) read(f *blobfs.File, p []byte, off int64) (ok, last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return false, true
	}
	if ok = t.fill(f, off+int64(len(p))) && t.holds(f, p, off); ok {
		copy(p, t.data[off-t.off:])
		t.reads++
	}
	if !ok || t.reads == tailReads {
		t.drop()
	}
	return ok, t.over
}

// fill reads the end of the file unless that is done, for a read that ends at end. A file that somebody may be writing
// has no version.
func (t *tail) fill(f *blobfs.File, end int64) bool {
	if t.buf != nil {
		return true
	}
	in, err := f.Stat()
	t.version = f.Version()
	if err != nil || t.version == 0 || end != in.Size || end == 0 {
		return false
	}
	n := min(in.Size, tailSize)
	t.off = in.Size - n
	t.buf = tailBuffers.Get().(*[tailSize]byte)
	t.data = t.buf[:n]
	_, err = f.ReadAt(t.data, t.off)
	return err == nil
}

func (t *tail) holds(f *blobfs.File, p []byte, off int64) bool {
	return off >= t.off && off+int64(len(p)) <= t.off+int64(len(t.data)) && f.Version() == t.version
}

// drop gives the memory back. The caller holds mu.
func (t *tail) drop() {
	t.over = true
	if t.buf != nil {
		tailBuffers.Put(t.buf)
		t.buf, t.data = nil, nil
	}
}

// close ends the tail of a file that is closed, or whose turn is over.
func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
}

// opensTable says whether options are those with which Pebble opens a table for its readers.
func opensTable(opts []vfs.OpenOption) bool {
	random, sequential := false, false
	for _, o := range opts {
		random = random || o == vfs.RandomReadsOption
		sequential = sequential || o == vfs.SequentialReadsOption
	}
	return random && !sequential
}
