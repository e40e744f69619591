package blobfs

import (
	"sync"
	"sync/atomic"

	"github.com/blobkv/blobkv/blobstore"
)

// fileData is what an open file needs beyond its node, shared by all its handles.
//
// Locks, in the order in which they are taken (FS.ns comes before all of them and is never taken under one):
//
//	syncMu  one sync or truncation at a time; held across I/O
//	wmu     writers; held across I/O (loading a partial block, waiting for buffers to go out)
//	mu      chunks and their bytes, shared with readers; never held across I/O
//
// Readers take mu alone, and not even that while nothing is buffered.
type fileData struct {
	fs   *FS
	n    *node
	blob *blobstore.Blob

	writers  atomic.Int32  // handles open for writing
	buffered atomic.Int32  // chunks; 0 lets readers go straight to the device
	version  atomic.Uint64 // counts changes of content; read-ahead that is older is not used
	shrinks  atomic.Uint64 // counts truncations; a read that saw one happen starts again

	syncMu sync.Mutex

	wmu       sync.Mutex
	committed int64     // length in the newest committed transaction
	voucher   voucher   // checksum of the bytes behind committed, ready for the next sync
	flights   []*flight // writes on their way, oldest first
	current   *chunk    // where the last write ended: kept although it is clean
	lastEnd   int64     // where the last write ended
	started   uint64    // counts writes that were started
	flushed   uint64    // value of started that the last good flush covered
	scrap     int64     // of a reused file: content behind it is unspecified; -1 for other files
	doomed    bool      // about to be deleted: reclaim leaves it alone
	ahead     logAhead

	aloft []*flight       // those the running sync waits for; guarded by syncMu
	ios   []*blobstore.IO // theirs

	mu     sync.RWMutex
	chunks []*chunk // by offset, without overlap
}

func newFileData(fs *FS, n *node, blob *blobstore.Blob) *fileData {
	size := n.size.Load()
	return &fileData{
		fs:        fs,
		n:         n,
		blob:      blob,
		committed: size,
		voucher:   voucher{start: size, valid: true},
		scrap:     -1,
	}
}

// settled reports whether nothing is lost when the fileData is dropped: everything written is on the device, flushed,
// and the length in the store.
func (d *fileData) settled() bool {
	d.wmu.Lock()
	defer d.wmu.Unlock()
	return d.committed == d.n.size.Load() && d.flushed >= d.started && !d.anyDirty()
}

// anyDirty reports whether a chunk holds bytes that no write has been started for. The caller holds wmu.
func (d *fileData) anyDirty() bool {
	for _, c := range d.chunks {
		if c.dirty != 0 {
			return true
		}
	}
	return false
}

// startReuse declares the file's present content unspecified where it is not overwritten.
func (d *fileData) startReuse() {
	d.wmu.Lock()
	defer d.wmu.Unlock()
	d.scrap = 0
	if d.voucher.n > 0 {
		d.voucher.valid = false // what it summed up may be given up now
	}
}

// doom keeps reclaim away from a file that is about to be deleted, and waits for what is in flight: its clusters may
// soon be another file's.
func (d *fileData) doom(doomed bool) {
	d.wmu.Lock()
	defer d.wmu.Unlock()
	d.doomed = doomed
	if doomed {
		d.ahead.settle()
		d.settleAll()
	}
}

// discard forgets what was not written, of a file that nobody can reach any more.
func (d *fileData) discard() {
	d.doom(true)
	d.dropBuffers()
}

// dropBuffers gives all buffers back. Nothing is in flight.
func (d *fileData) dropBuffers() {
	d.wmu.Lock()
	defer d.wmu.Unlock()
	d.ahead.settle()
	d.settleAll()
	for len(d.chunks) > 0 {
		d.drop(d.chunks[len(d.chunks)-1])
	}
	d.current = nil
}
