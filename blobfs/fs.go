package blobfs

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/blobstore"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// FormatOptions say how Format lays a file system out. The zero value is a good choice.
type FormatOptions struct {
	blobstore.FormatOptions // Type and FirstBlob are set by blobfs
}

// Options say how a file system is mounted. The zero value is a good choice.
type Options struct {
	ReadOnly         bool  // nothing on the device changes
	WriteBufferBytes int64 // bound on write-behind memory of the whole file system; 0: 16 MiB
	ReadAheadBytes   int64 // bound on read-ahead memory of the whole file system; 0: 8 MiB
	Progress         func(done, total int64)
}

const (
	defaultWriteBuffer = 16 << 20
	defaultReadAhead   = 8 << 20
	minMemory          = 1 << 20 // a smaller bound would leave no room for one buffer per stream
)

// FS is a mounted file system. Safe for any goroutine. Paths are slash-separated, cleaned like path.Clean, rooted at "/".
type FS struct {
	store    *blobstore.Store
	block    int64  // unit of data I/O in bytes
	cluster  int64  // bytes
	align    int    // memory alignment that spares the device layer a copy
	sparse   bool   // the device is an image file whose fresh ranges cost host metadata
	total    int64  // bytes in clusters, free or not
	readOnly string // why nothing can be written; "" when it can
	damage   error  // what the mount found wrong first, nil if nothing
	closed   atomic.Bool

	writeMem     *dmabuf.Pool        // write-behind buffers
	writeHolders holders[*fileData]  // who has some
	readMem      *dmabuf.Pool        // read-ahead buffers
	readHolders  holders[*readAhead] // who has some
	sequential   atomic.Int64        // open handles that read ahead
	zeros        zeroBuffer          // what log-ahead writes
	bounces      bounceCache         // what reads of odd ranges go through
	stats        counters
	versions     atomic.Uint64 // the last one that was given out

	// ns guards the tree: every node's place, links and opens. A change is committed to the store under it, so that
	// the order of transactions is the order of changes in memory.
	ns struct {
		sync.RWMutex
		root   *node
		active map[*node]struct{} // nodes with fileData: open, or closed with a length that is not synced

		made uint32 // nodes made since the mount
	}
}

// Store is the blobstore below. The file system owns its blobs.
func (fs *FS) Store() *blobstore.Store { return fs.store }

// Damage returns the first damage that the mount met, an ErrCorrupt that names the blob, or nil. Files may be missing from
// the tree then, and a file that is not there may only be one that could not be read. Check finds everything.
func (fs *FS) Damage() error { return fs.damage }

// ReadOnlyReason says why the file system cannot be written, "" when it can.
func (fs *FS) ReadOnlyReason() string { return fs.readOnly }

// DirEntry is one name in a directory.
type DirEntry struct {
	Name string
	Info Info
}

// Info describes a file or directory.
type Info struct {
	ID      blobstore.BlobID
	Size    int64 // exact bytes
	Dir     bool
	Links   int
	ModTime time.Time
}

// Format makes an empty file system on a device, replacing what is there under the rules of blobstore.Format. The root
// directory is part of the store from the start: a Format that is cut leaves no file system, and may be repeated.
func Format(dev *blobstore.Device, o FormatOptions) error {
	o.FormatOptions.Type = StoreType
	o.FormatOptions.FirstBlob = map[string][]byte{
		xattrSuper: superValue{version: formatVersion}.marshal(),
		xattrNode:  nodeValue{kind: kindDir, created: now()}.marshal(),
	}
	return fromStore(blobstore.Format(dev, o.FormatOptions))
}

// writable returns why nothing may be changed.
func (fs *FS) writable() error {
	switch {
	case fs.closed.Load():
		return ErrClosed
	case fs.readOnly != "":
		return fmt.Errorf("%w: %s", ErrReadOnly, fs.readOnly)
	}
	if err := fs.store.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return nil
}

// usableFor is writable or, if write is not set, usable.
func (fs *FS) usableFor(write bool) error {
	if write {
		return fs.writable()
	}
	return fs.usable()
}

// usable returns an error once the file system is closed.
func (fs *FS) usable() error {
	if fs.closed.Load() {
		return ErrClosed
	}
	return nil
}

// Sync makes every namespace change so far durable.
func (fs *FS) Sync() error {
	if err := fs.usable(); err != nil {
		return err
	}
	return fromStore(fs.store.Sync(fs.store.LastLSN()))
}

// roundUp returns n rounded up to a multiple of unit.
func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// roundDown returns n rounded down to a multiple of unit.
func roundDown(n, unit int64) int64 { return n - n%unit }
