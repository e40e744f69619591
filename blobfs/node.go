package blobfs

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/blobstore"
)

// node is one file or directory in memory. There is one per blob from mount to unmount, so it is small; what an open
// file needs besides is its fileData.
type node struct {
	id      blobstore.BlobID
	size    atomic.Int64  // exact bytes; changed under fileData.mu
	changed atomic.Int64  // time of the last change, in nanoseconds since 1970
	written atomic.Bool   // since changed was set: a write has no time to look at the clock
	made    uint32        // the how-manieth node since the mount it is, 0 if older: ids of removed ones are given out again
	lsn     atomic.Uint64 // newest transaction that touched the blob
	version atomic.Uint64 // of the content, see version.go; 0: none yet. Changed under FS.ns

	vouched vouchSpan // bytes that recovery may still want to find unchanged; guarded by fileData.wmu

	// Guarded by FS.ns.
	entries map[string]*node // of a directory; nil for a file
	parent  *node            // of a directory other than the root
	links   int32            // names
	opens   int32            // handles; a file without names lives until the last one is closed
	data    *fileData        // while open, and until its length is synced
	damage  error            // why the file cannot be opened
}

func (n *node) isDir() bool { return n.entries != nil }

// touch notes a transaction on the blob.
func (n *node) touch(lsn blobstore.LSN) {
	for {
		old := n.lsn.Load()
		if uint64(lsn) <= old || n.lsn.CompareAndSwap(old, uint64(lsn)) {
			return
		}
	}
}

// lastLSN is the newest transaction that touched the blob.
func (n *node) lastLSN() blobstore.LSN { return blobstore.LSN(n.lsn.Load()) }

// markWritten notes a write. Its time will be that of the next stamp.
func (n *node) markWritten() {
	if !n.written.Load() {
		n.written.Store(true)
	}
}

// stamp sets the time of the last change if there was one since the last stamp: when a file is synced, closed or looked at.
func (n *node) stamp() {
	if n.written.Load() && n.written.Swap(false) {
		n.changed.Store(now())
	}
}

// info describes the node. The caller holds FS.ns.
func (n *node) info() Info {
	n.stamp()
	return Info{
		ID:      n.id,
		Size:    n.size.Load(),
		Dir:     n.isDir(),
		Links:   int(n.links),
		ModTime: time.Unix(0, n.changed.Load()),
	}
}

// openLocked makes a handle. The caller holds FS.ns for writing.
func (fs *FS) openLocked(n *node, name string, write bool) (*File, error) {
	f := &File{fs: fs, n: n, name: name, write: write}
	if n.isDir() {
		return f, nil
	}
	if n.damage != nil {
		return nil, n.damage
	}
	if n.data == nil {
		blob, err := fs.store.Blob(n.id)
		if err != nil {
			return nil, err
		}
		n.data = newFileData(fs, n, blob)
		fs.ns.active[n] = struct{}{}
	}
	n.opens++
	if write {
		n.data.writers.Add(1)
		n.version.Store(0)
	}
	f.d = n.data
	return f, nil
}

// release gives a handle's claim back. The last one drops what the open file needed in memory and, when the file has no
// name left, the file.
func (fs *FS) release(n *node, write bool) error {
	fs.ns.Lock()
	defer fs.ns.Unlock()
	if fs.closed.Load() {
		return nil
	}
	n.opens--
	if write {
		n.data.writers.Add(-1)
	}
	if n.opens > 0 {
		return nil
	}
	if n.links == 0 {
		return fs.deleteLocked(n)
	}
	if n.data.settled() {
		fs.dropData(n)
	}
	return nil
}

// deleteLocked deletes a file that neither a name nor a handle reaches.
func (fs *FS) deleteLocked(n *node) error {
	n.data.discard()
	fs.dropData(n)
	if fs.writable() != nil {
		return nil // the next mount for writing removes it
	}
	tx := fs.store.Begin()
	tx.Delete(n.id)
	if _, err := tx.Commit(); err != nil {
		return fmt.Errorf("delete blob %#x: %w", uint64(n.id), fromStore(err))
	}
	return nil
}

// dropData forgets an open file's memory. The caller holds FS.ns for writing.
func (fs *FS) dropData(n *node) {
	if n.data == nil {
		return
	}
	n.data.dropBuffers()
	n.data = nil
	delete(fs.ns.active, n)
}
