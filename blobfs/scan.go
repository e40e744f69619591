package blobfs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/blobkv/blobkv/blobstore"
)

// scan is the tree as the blobs' attributes describe it. Mount and Check share it.
type scan struct {
	super    superValue
	root     *node
	list     []*node // all, by id
	memory   []node  // for the next ones
	dirs     map[blobstore.BlobID]*scannedDir
	links    []scannedLink
	orphans  []blobstore.BlobID // no name: unlinked while open
	excess   []scannedFile      // more clusters than the length needs
	foreign  []blobstore.BlobID // not ours
	findings []blobstore.Finding
	bad      error     // the first blob that the store calls damaged
	attrs    nodeAttrs // of the blob that is being read
	files    int64
	bytes    int64
}

type scannedDir struct {
	n     *node
	names int // that are said to be in it
}

type scannedLink struct {
	parent blobstore.BlobID
	name   string
	n      *node
}

type scannedFile struct {
	n    *node
	need int64 // clusters
}

// scanStore reads every blob's attributes and builds the tree. What is damaged is left out and reported; an error means
// that there is no tree at all.
func scanStore(store *blobstore.Store) (*scan, error) {
	s := &scan{dirs: make(map[blobstore.BlobID]*scannedDir)}
	if err := s.readSuper(store); err != nil {
		return nil, err
	}
	ids := store.IDs()
	s.list = make([]*node, 0, len(ids))
	s.links = make([]scannedLink, 0, len(ids))
	for _, id := range ids {
		s.readBlob(store, id)
	}
	root := s.dirs[RootID]
	if root == nil {
		return nil, fmt.Errorf("%w: the root, blob %v, is not a directory", ErrCorrupt, RootID)
	}
	s.root = root.n
	s.makeEntries()
	s.attach()
	s.findUnreachable()
	return s, nil
}

// readSuper judges whether the store holds a blobfs this program can read.
func (s *scan) readSuper(store *blobstore.Store) error {
	if t := store.Info().Type; t != StoreType {
		return fmt.Errorf("%w: blobstore of type %q, expected %q", ErrNotFS, t, StoreType)
	}
	blob, err := store.Blob(RootID)
	if errors.Is(err, blobstore.ErrNotFound) {
		return fmt.Errorf("%w: no root directory, blob %v", ErrNotFS, RootID)
	}
	if err != nil {
		return fmt.Errorf("root directory: %w", fromStore(err))
	}
	value, ok := blob.Xattr(xattrSuper)
	if !ok {
		return fmt.Errorf("%w: the root, blob %v, has no attribute %s", ErrNotFS, RootID, xattrSuper)
	}
	return s.super.unmarshal(value)
}

// report notes what is wrong with a blob.
func (s *scan) report(severity blobstore.Severity, id blobstore.BlobID, err error) {
	s.findings = append(s.findings, blobstore.Finding{Severity: severity, Blob: id, Err: err})
}

// readBlob makes a node of a blob and collects its names.
func (s *scan) readBlob(store *blobstore.Store, id blobstore.BlobID) {
	blob, err := store.Blob(id)
	if err != nil { // the store's own check says so
		if s.bad == nil && !errors.Is(err, blobstore.ErrUnsupportedBlob) {
			s.bad = err
		}
		return
	}
	attrs := &s.attrs
	attrs.read(blob)
	if attrs.node == nil {
		s.foreign = append(s.foreign, id)
		return
	}
	n := s.newNode(id)
	isDir, err := n.read(attrs.node)
	if err != nil {
		s.report(blobstore.SeverityError, id, fmt.Errorf("blob %v: %w", id, err))
		return
	}
	s.list = append(s.list, n)
	s.readLinks(n, attrs.links)
	if isDir {
		s.dirs[id] = &scannedDir{n: n}
		return
	}
	s.files++
	s.readLength(store, n, blob, attrs.length)
}

// nodeAttrs are the attributes of one blob that are ours.
type nodeAttrs struct {
	node, length []byte // nil if there is none
	links        []string
}

// read takes the attributes of a blob.
func (a *nodeAttrs) read(blob *blobstore.Blob) {
	a.node, a.length, a.links = nil, nil, a.links[:0]
	blob.EachXattr(func(name string, value []byte) {
		switch {
		case name == xattrNode:
			a.node = value
		case name == xattrLength:
			a.length = value
		case strings.HasPrefix(name, xattrLinkPrefix):
			a.links = append(a.links, name)
		}
	})
}

// nodesAtOnce is how many nodes are one allocation. It lives as long as any of them.
const nodesAtOnce = 64

func (s *scan) newNode(id blobstore.BlobID) *node {
	if len(s.memory) == 0 {
		s.memory = make([]node, nodesAtOnce)
	}
	n := &s.memory[0]
	s.memory = s.memory[1:]
	n.id = id
	return n
}

// read decodes what a blob is.
func (n *node) read(value []byte) (isDir bool, err error) {
	var v nodeValue
	if err := v.unmarshal(value); err != nil {
		return false, err
	}
	n.changed.Store(v.created)
	return v.kind == kindDir, nil
}

// makeEntries makes the maps of directories as large as they get.
func (s *scan) makeEntries() {
	for i := range s.links {
		if dir := s.dirs[s.links[i].parent]; dir != nil {
			dir.names++
		}
	}
	for _, dir := range s.dirs {
		dir.n.entries = make(map[string]*node, dir.names)
	}
}

// readLinks collects a blob's names.
func (s *scan) readLinks(n *node, links []string) {
	for _, key := range links {
		parent, name, _, err := parseLinkKey(key)
		if err != nil {
			s.report(blobstore.SeverityError, n.id, fmt.Errorf("blob %v: %w", n.id, err))
			continue
		}
		s.links = append(s.links, scannedLink{parent, name, n})
	}
	if len(links) == 0 && n.id != RootID {
		s.orphans = append(s.orphans, n.id)
	}
}

// readLength decodes a file's length and compares it with its clusters.
func (s *scan) readLength(store *blobstore.Store, n *node, blob *blobstore.Blob, value []byte) {
	var v lengthValue
	if value != nil {
		if err := v.unmarshal(value); err != nil {
			s.damaged(n, err)
			return
		}
		n.changed.Store(v.changed)
	}
	if v.length > blob.Size() {
		s.damaged(n, fmt.Errorf("%w: length %d, but its clusters hold %d bytes", ErrCorrupt, v.length, blob.Size()))
		return
	}
	n.size.Store(v.length)
	s.bytes += v.length
	if need := roundUp(v.length, int64(store.ClusterSize())) / int64(store.ClusterSize()); need < blob.Clusters() {
		s.excess = append(s.excess, scannedFile{n, need})
	}
}

// damaged marks a file that can be seen but not opened.
func (s *scan) damaged(n *node, err error) {
	n.damage = fmt.Errorf("blob %v: %w", n.id, err)
	s.report(blobstore.SeverityError, n.id, n.damage)
}

// damage is the first thing that is wrong with the tree, nil if it is sound.
func (s *scan) damage() error {
	if s.bad != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, s.bad)
	}
	for i := range s.findings {
		if s.findings[i].Severity == blobstore.SeverityError {
			return s.findings[i].Err
		}
	}
	return nil
}

// attach puts every node where its names say, in an order that does not depend on chance.
func (s *scan) attach() {
	if !slices.IsSortedFunc(s.links, compareLinks) { // blobs come in order, and most have one name
		slices.SortFunc(s.links, compareLinks)
	}
	for i := range s.links {
		if err := s.attachLink(&s.links[i]); err != nil {
			s.report(blobstore.SeverityError, s.links[i].n.id, err)
		}
	}
}

func compareLinks(a, b scannedLink) int {
	return cmp.Or(cmp.Compare(a.n.id, b.n.id), cmp.Compare(a.parent, b.parent), cmp.Compare(a.name, b.name))
}

func (s *scan) attachLink(l *scannedLink) error {
	bad := func(why string) error {
		return fmt.Errorf("%w: blob %v: name %q in directory %v: %s", ErrCorrupt, l.n.id, l.name, l.parent, why)
	}
	found := s.dirs[l.parent]
	switch {
	case found == nil && s.has(l.parent):
		return bad("the directory is a file")
	case found == nil:
		return bad("the directory does not exist")
	case l.n.id == RootID:
		return bad("the root has no name")
	case l.n.isDir() && l.n.parent != nil:
		return bad("the directory has another name already")
	}
	dir := found.n
	if taken := dir.entries[l.name]; taken != nil {
		return bad(fmt.Sprintf("blob %v has the name already", taken.id))
	}
	dir.entries[l.name] = l.n
	l.n.links++
	if l.n.isDir() {
		l.n.parent = dir
	}
	return nil
}

// has reports whether there is a node with an id.
func (s *scan) has(id blobstore.BlobID) bool {
	_, ok := slices.BinarySearchFunc(s.list, id, func(n *node, id blobstore.BlobID) int { return cmp.Compare(n.id, id) })
	return ok
}

// findUnreachable reports nodes that have names but no path from the root. They are kept: their directory may only be
// unreadable at the moment. What has a name is in some directory, so as long as all of those can be reached all can.
func (s *scan) findUnreachable() {
	s.root.links = 1
	for _, dir := range s.dirs {
		if (dir.n.links > 0 || len(dir.n.entries) > 0) && !s.reaches(dir.n) {
			s.reportUnreachable()
			return
		}
	}
}

// reaches reports whether a directory is below the root. In a damaged store directories may be in each other.
func (s *scan) reaches(dir *node) bool {
	for range s.dirs {
		if dir == nil || dir == s.root {
			break
		}
		dir = dir.parent
	}
	return dir == s.root
}

func (s *scan) reportUnreachable() {
	reached := map[*node]bool{}
	walk(s.root, reached)
	for _, n := range s.list {
		if !reached[n] && n.links > 0 {
			s.report(blobstore.SeverityError, n.id, fmt.Errorf("%w: blob %v: no path leads to it from the root", ErrCorrupt, n.id))
		}
	}
}

// walk marks what can be reached from n. A cycle cannot be: a directory has one parent, and the root none.
func walk(n *node, reached map[*node]bool) {
	reached[n] = true
	for _, child := range n.entries {
		walk(child, reached)
	}
}
