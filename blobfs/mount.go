package blobfs

import (
	"fmt"

	"github.com/blobkv/blobkv/blobstore"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// Open mounts the file system on a device: it recovers the store below if it was not closed cleanly, reads the names and
// removes files that were unlinked while open. Damaged files are listed and refused alone. A device that cannot be
// written is mounted for reading only; ReadOnlyReason says so.
func Open(dev *blobstore.Device, o Options) (*FS, error) {
	fs, err := open(dev, o)
	return fs, fromStore(err)
}

func open(dev *blobstore.Device, o Options) (*FS, error) {
	store, err := openStore(dev, o)
	if err != nil {
		return nil, err
	}
	fs, err := mount(store, o)
	if err != nil {
		_ = store.Close()                                 // the first error says more
		return nil, fmt.Errorf("%s: %w", dev.Name(), err) // those of the store name the device
	}
	if fs.readOnly != "" && !store.ReadOnly() {
		return remount(fs, dev, o)
	}
	return fs, nil
}

func openStore(dev *blobstore.Device, o Options) (*blobstore.Store, error) {
	return blobstore.Open(dev, blobstore.OpenOptions{ReadOnly: o.ReadOnly, Type: StoreType, Progress: o.Progress})
}

// remount mounts again, read-only, a file system whose features this program may not write.
func remount(fs *FS, dev *blobstore.Device, o Options) (*FS, error) {
	why := fs.readOnly
	if err := fs.Close(); err != nil {
		return nil, err
	}
	o.ReadOnly = true
	fs, err := open(dev, o)
	if err == nil {
		fs.readOnly = why
	}
	return fs, err
}

// mount builds the file system over an open store.
func mount(store *blobstore.Store, o Options) (*FS, error) {
	s, err := scanStore(store)
	if err != nil {
		return nil, err
	}
	fs := newFS(store, o)
	fs.damage = s.damage()
	if fs.readOnly, err = s.super.mountable(); err != nil {
		return nil, err
	}
	switch {
	case o.ReadOnly:
		fs.readOnly = "mounted for reading only"
	case store.ReadOnly():
		fs.readOnly = "the device cannot be written"
	}
	fs.ns.root = s.root
	if fs.readOnly == "" {
		err = fs.sweep(s)
	}
	return fs, err
}

func newFS(store *blobstore.Store, o Options) *FS {
	info, props := store.Info(), store.Device().Properties()
	fs := &FS{
		store:    store,
		block:    int64(store.BlockSize()),
		cluster:  int64(store.ClusterSize()),
		align:    max(1, props.BufferAlign),
		sparse:   props.Sparse,
		total:    info.Clusters * int64(info.ClusterSize),
		writeMem: dmabuf.NewPool(memoryBound(o.WriteBufferBytes, defaultWriteBuffer)),
		readMem:  dmabuf.NewPool(memoryBound(o.ReadAheadBytes, defaultReadAhead)),
	}
	fs.bounces.mem = dmabuf.NewPool(bounceMemory)
	fs.zeros.mem = fs.bounces.mem
	fs.ns.active = make(map[*node]struct{})
	return fs
}

func memoryBound(asked, standard int64) int64 {
	if asked <= 0 {
		return standard
	}
	return max(asked, minMemory)
}

// sweep removes files that no name reaches and gives back clusters that were taken ahead of a writer: what a crash
// leaves behind. Each blob is a transaction of its own: many together could change more metadata pages than a small
// journal takes at once.
func (fs *FS) sweep(s *scan) error {
	for _, id := range s.orphans {
		if dir := s.dirs[id]; dir != nil && len(dir.n.entries) > 0 {
			continue
		}
		if err := fs.sweepBlob(func(tx *blobstore.Tx) { tx.Delete(id) }); err != nil {
			return err
		}
	}
	for _, f := range s.excess {
		if f.n.links == 0 {
			continue
		}
		if err := fs.sweepBlob(func(tx *blobstore.Tx) { tx.Resize(f.n.id, f.need) }); err != nil {
			return err
		}
	}
	return nil
}

func (fs *FS) sweepBlob(change func(*blobstore.Tx)) error {
	tx := fs.store.Begin()
	change(tx)
	_, err := tx.Commit()
	return err
}

// Close makes everything written durable, closes the store and gives the memory back. The device stays open. No other
// call runs. Open handles are dead afterwards.
func (fs *FS) Close() error {
	return fs.close((*fileData).finish)
}

// Abandon is Close where nobody needs what was not synced: it is lost as in a crash, and that it could not be written is no
// error.
func (fs *FS) Abandon() error {
	return fs.close((*fileData).forget)
}

// close ends every file that is still written.
func (fs *FS) close(end func(*fileData) error) error {
	if fs.closed.Load() {
		return ErrClosed
	}
	err := fs.endAll(end)
	fs.closed.Store(true)
	if e := fs.dropAll(); err == nil {
		err = e
	}
	if e := fs.store.Close(); err == nil {
		err = e
	}
	return fromStore(err)
}

// endAll ends every file that is open or was closed without a sync, and removes those whose last handle was never closed.
func (fs *FS) endAll(end func(*fileData) error) error {
	if fs.writable() != nil {
		return fs.store.Err() // a store that has failed has already said so, but its writes are lost
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	var first error
	for n := range fs.ns.active {
		var err error
		if n.links > 0 {
			err = end(n.data)
		} else {
			err = fs.deleteLocked(n)
		}
		if err != nil && first == nil {
			first = err
		}
	}
	return first
}

// finish is the last sync of a file, with clusters taken ahead given back.
func (d *fileData) finish() error {
	if err := d.sync(); err != nil {
		return err
	}
	d.wmu.Lock()
	defer d.wmu.Unlock()
	d.ahead.settle()
	return d.trim()
}

// forget cuts a file to what was synced of it.
func (d *fileData) forget() error {
	d.wmu.Lock()
	synced := d.committed
	d.wmu.Unlock()
	return d.truncate(synced)
}

// dropAll gives the memory of all files back, and then the pools.
func (fs *FS) dropAll() error {
	fs.ns.Lock()
	defer fs.ns.Unlock()
	for n := range fs.ns.active {
		fs.dropData(n)
	}
	fs.zeros.close()
	fs.bounces.close()
	fs.bounces.mem.Trim()
	fs.readMem.Trim() // handles that are still open give theirs back when they are closed
	return fs.writeMem.Close()
}
