package blobfs

import (
	"fmt"
	"path"
	"sort"
	"strings"

	"github.com/blobkv/blobkv/blobstore"
)

// clean makes a path absolute and canonical.
func clean(name string) string { return path.Clean("/" + name) }

// lookup finds a path. The caller holds FS.ns.
func (fs *FS) lookup(name string) (*node, error) {
	n := fs.ns.root
	rest := strings.TrimPrefix(clean(name), "/")
	for rest != "" {
		var base string
		base, rest, _ = strings.Cut(rest, "/")
		if !n.isDir() {
			return nil, ErrNotDir
		}
		next, ok := n.entries[base]
		if !ok {
			return nil, ErrNotExist
		}
		n = next
	}
	return n, nil
}

// lookupPlace finds the directory that a path's last element stands in, or would. The caller holds FS.ns.
func (fs *FS) lookupPlace(name string) (place, error) {
	dirName, base := path.Split(clean(name))
	if base == "" {
		return place{}, fmt.Errorf("%w: the root directory", ErrInvalid)
	}
	if err := checkName(base); err != nil {
		return place{}, err
	}
	dir, err := fs.lookup(dirName)
	if err != nil {
		return place{}, err
	}
	if !dir.isDir() {
		return place{}, ErrNotDir
	}
	return place{dir, base}, nil
}

// place is a name in a directory, taken or not.
type place struct {
	dir  *node
	base string
}

func (p place) node() *node { return p.dir.entries[p.base] }
func (p place) key() string { return linkKey(p.dir.id, p.base) }

// put and clear change what the name stands for, which is a change of the directory. Its time is kept in memory only.
func (p place) put(n *node) {
	p.dir.entries[p.base] = n
	p.dir.markWritten()
}

func (p place) clear() {
	delete(p.dir.entries, p.base)
	p.dir.markWritten()
}

// existing is the node at the place, or ErrNotExist.
func (p place) existing() (*node, error) {
	if n := p.node(); n != nil {
		return n, nil
	}
	return nil, ErrNotExist
}

// isInside says whether dir is n or lies below it. The caller holds FS.ns.
func isInside(dir, n *node) bool {
	for ; dir != nil; dir = dir.parent {
		if dir == n {
			return true
		}
	}
	return false
}

// makeNode adds the creation of a blob named p to tx. The node appears with the commit, by p.put. The caller holds FS.ns.
func (fs *FS) makeNode(tx *blobstore.Tx, p place, kind nodeKind) *node {
	fs.ns.made++
	n := &node{id: tx.Create(), links: 1, made: fs.ns.made}
	created := now()
	n.changed.Store(created)
	if kind == kindDir {
		n.entries = make(map[string]*node)
		n.parent = p.dir
	}
	tx.SetXattr(n.id, xattrNode, nodeValue{kind: kind, created: created}.marshal())
	tx.SetXattr(n.id, p.key(), linkValue())
	return n
}

// unlink adds the removal of the name p, which n has, to tx. The returned function carries it out in memory once tx
// has committed, or takes preparations back when it failed.
func (fs *FS) unlink(tx *blobstore.Tx, p place, n *node) func(committed bool) {
	if n.links > 1 || n.opens > 0 {
		tx.RemoveXattr(n.id, p.key())
		return func(committed bool) {
			if committed {
				n.links--
				p.clear()
			}
		}
	}
	if n.data != nil {
		n.data.doom(true)
	}
	tx.Delete(n.id)
	return func(committed bool) {
		if committed {
			n.links--
			p.clear()
			fs.dropData(n)
		} else if n.data != nil {
			n.data.doom(false)
		}
	}
}

// removable says why a node cannot be unlinked to make room.
func removable(n *node) error {
	if n.isDir() && len(n.entries) > 0 {
		return ErrNotEmpty
	}
	return nil
}

// sortedNames lists a directory's names in order.
func sortedNames(entries map[string]*node) []string {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
