package blobfs

import (
	"time"

	"github.com/blobkv/blobkv/blobstore"
)

// Node is a file or directory by identity instead of by path: it stays the same one while it, or a directory above it, is
// renamed. Its methods take the name of one directory entry where those of FS take a path, as openat(2) and its family do.
// Nodes of one FS are comparable, equal for every name of a file, and safe for any goroutine.
//
// A Node does not keep its file alive. Once the last name is removed and the last handle closed its methods return
// ErrNotExist, except Stat, which says that there are no links.
type Node struct {
	fs *FS
	n  *node
}

// Root is the root directory.
func (fs *FS) Root() Node { return Node{fs, fs.ns.root} }

// Identity tells the node from all others that are there or were since the mount: the store gives the blob ids of removed
// files out again, but not within the same generation.
func (d Node) Identity() (id blobstore.BlobID, generation uint32) { return d.n.id, d.n.made }

// error names the operation and the node of a failure.
func (d Node) error(op string, err error) error { return pathError(op, "blob "+d.n.id.String(), err) }

// Stat describes the node.
func (d Node) Stat() (Info, error) {
	if err := d.fs.usable(); err != nil {
		return Info{}, d.error("stat", err)
	}
	d.fs.ns.RLock()
	defer d.fs.ns.RUnlock()
	return d.n.info(), nil
}

// Lookup finds an entry of the directory.
func (d Node) Lookup(name string) (Node, Info, error) {
	if err := d.fs.usable(); err != nil {
		return Node{}, Info{}, d.error("lookup", err)
	}
	d.fs.ns.RLock()
	defer d.fs.ns.RUnlock()
	p, err := d.place(name)
	if err != nil {
		return Node{}, Info{}, d.error("lookup", err)
	}
	n, err := p.existing()
	if err != nil {
		return Node{}, Info{}, pathError("lookup", name, err)
	}
	return Node{d.fs, n}, n.info(), nil
}

// List returns the directory's entries, ordered by name.
func (d Node) List() ([]DirEntry, error) {
	if err := d.fs.usable(); err != nil {
		return nil, d.error("list", err)
	}
	d.fs.ns.RLock()
	defer d.fs.ns.RUnlock()
	if !d.n.isDir() {
		return nil, d.error("list", ErrNotDir)
	}
	return listEntries(d.n), nil
}

// Open opens the node for reading, a file also for writing if write is set. A file without names can be opened again
// while a handle is open.
func (d Node) Open(write bool) (*File, error) {
	f, err := d.open(write)
	return f, d.error("open", err)
}

func (d Node) open(write bool) (*File, error) {
	if err := d.fs.usableFor(write); err != nil {
		return nil, err
	}
	d.fs.ns.Lock()
	defer d.fs.ns.Unlock()
	switch {
	case write && d.n.isDir():
		return nil, ErrIsDir
	case d.n.links == 0 && d.n.opens == 0:
		return nil, ErrNotExist
	}
	return d.fs.openLocked(d.n, "blob "+d.n.id.String(), write)
}

// Create makes a new, empty file in the directory and opens it for reading and writing. ErrExist if the name is taken.
func (d Node) Create(name string) (Node, *File, error) {
	var f *File
	err := d.change("create", name, func(p place) (err error) {
		if p.node() != nil {
			return ErrExist
		}
		f, err = d.fs.createLocked(p, name)
		return err
	})
	if err != nil {
		return Node{}, nil, err
	}
	return Node{d.fs, f.n}, f, nil
}

// Mkdir makes a directory in the directory. ErrExist if the name is taken.
func (d Node) Mkdir(name string) (Node, error) {
	made := Node{fs: d.fs}
	err := d.change("mkdir", name, func(p place) (err error) {
		made.n, err = d.fs.mkdirPlace(p)
		return err
	})
	return made, err
}

// Unlink removes a file's name. ErrIsDir for a directory.
func (d Node) Unlink(name string) error {
	return d.change("unlink", name, func(p place) error { return d.fs.removeKind(p, kindFile) })
}

// Rmdir removes an empty directory. ErrNotDir for a file.
func (d Node) Rmdir(name string) error {
	return d.change("rmdir", name, func(p place) error { return d.fs.removeKind(p, kindDir) })
}

// Rename moves an entry to a directory of the same FS, atomically. An existing file or empty directory of the new name is
// replaced if replace is set; else the error is ErrExist.
func (d Node) Rename(name string, to Node, newName string, replace bool) error {
	return d.change("rename", name, func(from place) error {
		target, err := to.place(newName)
		if err != nil {
			return err
		}
		if !replace && target.node() != nil {
			return ErrExist
		}
		return d.fs.renamePlace(from, target)
	})
}

// Link gives a file of the same FS another name, in the directory. ErrExist if it is taken.
func (d Node) Link(target Node, name string) error {
	return d.change("link", name, func(p place) error {
		switch {
		case target.n.isDir():
			return ErrIsDir
		case target.n.links == 0:
			return ErrNotExist
		}
		return d.fs.linkPlace(target.n, p)
	})
}

// SetModTime sets the time of the last change. That of a file is as durable as its length; that of a directory is
// forgotten at the next mount.
func (d Node) SetModTime(t time.Time) error {
	if err := d.fs.writable(); err != nil {
		return d.error("set time", err)
	}
	if d.n.isDir() {
		d.n.setTime(t)
		return nil
	}
	f, err := d.open(true)
	if err != nil {
		return d.error("set time", err)
	}
	err = f.d.setModTime(t)
	if e := f.Close(); err == nil {
		err = e
	}
	return d.error("set time", err)
}

// change runs a change of the entry called name under FS.ns.
func (d Node) change(op, name string, f func(place) error) error {
	if err := d.fs.writable(); err != nil {
		return pathError(op, name, err)
	}
	d.fs.ns.Lock()
	defer d.fs.ns.Unlock()
	p, err := d.place(name)
	if err == nil {
		err = f(p)
	}
	return pathError(op, name, err)
}

// place is an entry of the directory, taken or not. The caller holds FS.ns.
func (d Node) place(name string) (place, error) {
	switch {
	case !d.n.isDir():
		return place{}, ErrNotDir
	case d.n.links == 0:
		return place{}, ErrNotExist // the directory has been removed
	}
	return place{d.n, name}, checkName(name)
}

// removeKind removes a name if it is one of a file or of a directory, as kind says.
func (fs *FS) removeKind(p place, kind nodeKind) error {
	n, err := p.existing()
	switch {
	case err != nil:
		return err
	case n.isDir() && kind == kindFile:
		return ErrIsDir
	case !n.isDir() && kind == kindDir:
		return ErrNotDir
	}
	if err := removable(n); err != nil {
		return err
	}
	return fs.removeLocked(p, n)
}

// setTime sets the time of the last change; writes so far do not change it any more.
func (n *node) setTime(t time.Time) {
	n.written.Store(false)
	n.changed.Store(t.UnixNano())
}

// setModTime sets the time of the last change. A length that is not committed yet takes it along with the next sync. One
// that is gets a record of its own: no sync of it is running (syncMu) and none has failed, so its bytes need no voucher.
func (d *fileData) setModTime(t time.Time) error {
	d.syncMu.Lock()
	defer d.syncMu.Unlock()
	d.wmu.Lock()
	defer d.wmu.Unlock()
	size := d.n.size.Load()
	d.n.setTime(t)
	if size != d.committed {
		return nil
	}
	tx := d.fs.store.Begin()
	tx.SetXattr(d.n.id, xattrLength, d.lengthNow(size))
	lsn, err := tx.Commit()
	if err == nil {
		d.n.touch(lsn)
	}
	return err
}
