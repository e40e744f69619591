package blobfs

import (
	"errors"
	"path"
)

// Every operation in this file that changes a name is one transaction of the store, committed and applied under FS.ns.

// Create makes a new, empty file and opens it for reading and writing. An existing file of that name is replaced:
// other names and open handles keep the old one.
func (fs *FS) Create(name string) (*File, error) {
	f, err := fs.create(name)
	return f, pathError("create", name, err)
}

func (fs *FS) create(name string) (*File, error) {
	if err := fs.writable(); err != nil {
		return nil, err
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	p, err := fs.lookupPlace(name)
	if err != nil {
		return nil, err
	}
	return fs.createLocked(p, name)
}

func (fs *FS) createLocked(p place, name string) (*File, error) {
	old := p.node()
	if old != nil && old.isDir() {
		return nil, ErrIsDir
	}
	tx := fs.store.Begin()
	replaced := func(bool) {}
	if old != nil {
		replaced = fs.unlink(tx, p, old)
	}
	n := fs.makeNode(tx, p, kindFile)
	lsn, err := tx.Commit()
	replaced(err == nil)
	if err != nil {
		return nil, err
	}
	n.touch(lsn)
	p.put(n)
	return fs.openLocked(n, name, true)
}

// Open opens a file for reading. A directory opens too, for Sync and Stat.
func (fs *FS) Open(name string) (*File, error) {
	f, err := fs.open(name)
	return f, pathError("open", name, err)
}

func (fs *FS) open(name string) (*File, error) {
	if err := fs.usable(); err != nil {
		return nil, err
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	n, err := fs.lookup(name)
	if err != nil {
		return nil, err
	}
	return fs.openLocked(n, name, false)
}

// OpenReadWrite opens a file for reading and writing at offset 0 and makes it first when it does not exist and create
// is set.
func (fs *FS) OpenReadWrite(name string, create bool) (*File, error) {
	f, err := fs.openReadWrite(name, create)
	return f, pathError("open", name, err)
}

func (fs *FS) openReadWrite(name string, create bool) (*File, error) {
	if err := fs.writable(); err != nil {
		return nil, err
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	p, err := fs.lookupPlace(name)
	if err != nil {
		return nil, err
	}
	n, err := p.existing()
	switch {
	case errors.Is(err, ErrNotExist) && create:
		return fs.createLocked(p, name)
	case err != nil:
		return nil, err
	case n.isDir():
		return nil, ErrIsDir
	}
	return fs.openLocked(n, name, true)
}

// Reuse renames old over new and opens it for writing at offset 0, its size, clusters and content kept, so that a
// write-ahead log written over it is synced without any change of metadata. Until the last writer closes it, bytes that
// have not been overwritten are unspecified: those in a block that was written in part may read as zeros.
func (fs *FS) Reuse(old, new string) (*File, error) {
	f, err := fs.reuse(old, new)
	return f, pathError("reuse", old, err)
}

func (fs *FS) reuse(old, new string) (*File, error) {
	if err := fs.writable(); err != nil {
		return nil, err
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	n, err := fs.lookup(old)
	if err != nil {
		return nil, err
	}
	if n.isDir() {
		return nil, ErrIsDir
	}
	if n.damage != nil {
		return nil, n.damage
	}
	if err := fs.renameLocked(old, new); err != nil {
		return nil, err
	}
	f, err := fs.openLocked(n, new, true)
	if err != nil {
		return nil, err
	}
	if n.opens == 1 && n.links == 1 {
		f.d.startReuse()
	}
	return f, nil
}

// Rename moves a file or directory, atomically also over an existing file or empty directory.
func (fs *FS) Rename(old, new string) error {
	if err := fs.writable(); err != nil {
		return pathError("rename", old, err)
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	return pathError("rename", old, fs.renameLocked(old, new))
}

func (fs *FS) renameLocked(old, new string) error {
	from, err := fs.lookupPlace(old)
	if err != nil {
		return err
	}
	if _, err := from.existing(); err != nil {
		return err // rather than one about new
	}
	to, err := fs.lookupPlace(new)
	if err != nil {
		return err
	}
	return fs.renamePlace(from, to)
}

func (fs *FS) renamePlace(from, to place) error {
	n, err := from.existing()
	if err != nil {
		return err
	}
	target := to.node()
	if target == n {
		return nil // the same file under the same or another name: nothing happens, as in POSIX
	}
	if err := replaceable(n, to.dir, target); err != nil {
		return err
	}
	return fs.move(n, from, to, target)
}

// replaceable says why node n cannot move into dir over target, which may be nil.
func replaceable(n, dir, target *node) error {
	if n.isDir() && isInside(dir, n) {
		return ErrInvalid
	}
	switch {
	case target == nil:
		return nil
	case target.isDir() && !n.isDir():
		return ErrIsDir
	case !target.isDir() && n.isDir():
		return ErrNotDir
	}
	return removable(target)
}

// move is the transaction of a rename that has been judged.
func (fs *FS) move(n *node, from, to place, target *node) error {
	tx := fs.store.Begin()
	replaced := func(bool) {}
	if target != nil {
		replaced = fs.unlink(tx, to, target)
	}
	tx.RemoveXattr(n.id, from.key())
	tx.SetXattr(n.id, to.key(), linkValue())
	lsn, err := tx.Commit()
	replaced(err == nil)
	if err != nil {
		return err
	}
	n.touch(lsn)
	from.clear()
	to.put(n)
	if n.isDir() {
		n.parent = to.dir
	}
	return nil
}

// Link gives a file a second name. ErrExist if it is taken.
func (fs *FS) Link(old, new string) error {
	return pathError("link", old, fs.link(old, new))
}

func (fs *FS) link(old, new string) error {
	if err := fs.writable(); err != nil {
		return err
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	n, err := fs.lookup(old)
	if err != nil {
		return err
	}
	if n.isDir() {
		return ErrIsDir
	}
	to, err := fs.lookupPlace(new)
	if err != nil {
		return err
	}
	if to.node() != nil {
		return pathError("link", new, ErrExist)
	}
	return fs.linkPlace(n, to)
}

func (fs *FS) linkPlace(n *node, to place) error {
	if to.node() != nil {
		return ErrExist
	}
	tx := fs.store.Begin()
	tx.SetXattr(n.id, to.key(), linkValue())
	lsn, err := tx.Commit()
	if err != nil {
		return err
	}
	n.touch(lsn)
	n.links++
	to.put(n)
	return nil
}

// Remove removes a file's name or an empty directory. Open handles keep the file until they are closed.
func (fs *FS) Remove(name string) error {
	return pathError("remove", name, fs.remove(name))
}

func (fs *FS) remove(name string) error {
	if err := fs.writable(); err != nil {
		return err
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	p, err := fs.lookupPlace(name)
	if err != nil {
		return err
	}
	n, err := p.existing()
	if err != nil {
		return err
	}
	if err := removable(n); err != nil {
		return err
	}
	return fs.removeLocked(p, n)
}

func (fs *FS) removeLocked(p place, n *node) error {
	tx := fs.store.Begin()
	removed := fs.unlink(tx, p, n)
	lsn, err := tx.Commit()
	removed(err == nil)
	if err == nil {
		n.touch(lsn)
	}
	return err
}

// RemoveAll removes a file, or a directory with everything in it, bottom up and each name in a transaction of its own.
// nil when there is nothing of that name.
func (fs *FS) RemoveAll(name string) error {
	return pathError("removeall", name, fs.removeAll(name))
}

func (fs *FS) removeAll(name string) error {
	if err := fs.writable(); err != nil {
		return err
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	p, err := fs.lookupPlace(name)
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if n := p.node(); n != nil {
		return fs.removeTree(p, n)
	}
	return nil
}

func (fs *FS) removeTree(p place, n *node) error {
	for _, base := range sortedNames(n.entries) {
		child := place{n, base}
		if err := fs.removeTree(child, child.node()); err != nil {
			return err
		}
	}
	return fs.removeLocked(p, n)
}

// Mkdir makes a directory. ErrExist if the name is taken.
func (fs *FS) Mkdir(name string) error {
	if err := fs.writable(); err != nil {
		return pathError("mkdir", name, err)
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	return pathError("mkdir", name, fs.mkdirLocked(name))
}

func (fs *FS) mkdirLocked(name string) error {
	if clean(name) == "/" {
		return ErrExist
	}
	p, err := fs.lookupPlace(name)
	if err != nil {
		return err
	}
	_, err = fs.mkdirPlace(p)
	return err
}

func (fs *FS) mkdirPlace(p place) (*node, error) {
	if p.node() != nil {
		return nil, ErrExist
	}
	tx := fs.store.Begin()
	n := fs.makeNode(tx, p, kindDir)
	lsn, err := tx.Commit()
	if err != nil {
		return nil, err
	}
	n.touch(lsn)
	p.put(n)
	return n, nil
}

// MkdirAll makes a directory and its parents where they do not exist.
func (fs *FS) MkdirAll(name string) error {
	if err := fs.writable(); err != nil {
		return pathError("mkdir", name, err)
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	return pathError("mkdir", name, fs.mkdirAllLocked(clean(name)))
}

func (fs *FS) mkdirAllLocked(name string) error {
	n, err := fs.lookup(name)
	switch {
	case err == nil && n.isDir():
		return nil
	case err == nil:
		return ErrNotDir
	case !errors.Is(err, ErrNotExist):
		return err
	}
	if err := fs.mkdirAllLocked(path.Dir(name)); err != nil {
		return err
	}
	return fs.mkdirLocked(name)
}

// List returns a directory's entries, ordered by name.
func (fs *FS) List(dir string) ([]DirEntry, error) {
	if err := fs.usable(); err != nil {
		return nil, pathError("list", dir, err)
	}
	fs.ns.RLock()
	defer fs.ns.RUnlock()
	n, err := fs.lookup(dir)
	if err == nil && !n.isDir() {
		err = ErrNotDir
	}
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	return listEntries(n), nil
}

// listEntries describes a directory's entries. The caller holds FS.ns.
func listEntries(n *node) []DirEntry {
	entries := make([]DirEntry, 0, len(n.entries))
	for _, name := range sortedNames(n.entries) {
		entries = append(entries, DirEntry{Name: name, Info: n.entries[name].info()})
	}
	return entries
}

// Stat describes a file or directory.
func (fs *FS) Stat(name string) (Info, error) {
	if err := fs.usable(); err != nil {
		return Info{}, pathError("stat", name, err)
	}
	fs.ns.RLock()
	defer fs.ns.RUnlock()
	n, err := fs.lookup(name)
	if err != nil {
		return Info{}, pathError("stat", name, err)
	}
	return n.info(), nil
}
