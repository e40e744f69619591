package blobstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// blobState is one blob as its metadata pages describe it: what decodeBlob reads and encode writes. A state that others
// may see is not changed in place: clone, change the copy, publish it.
type blobState struct {
	id       BlobID
	flags    blobFlags
	xattrs   xattrList // the users' own, in stored order
	internal xattrList // SPDK's: SNAP, SNAPTMP, SNAPRM, EXTSNAP
	extents  []extent  // covering the blob from its first cluster on; neighbours that could be one are one

	// pages holds the metadata pages of the chain, the root first; extentPages those of SPDK's extent table. Both are
	// where the state was read from or last written to.
	pages       []pageIndex
	extentPages []pageIndex

	// refused is why nothing but listing is allowed: an ErrUnsupportedBlob or ErrCorrupt, or nil.
	refused error
}

// extent is a run of clusters: consecutive in the blob and, unless start is 0 (not allocated), on the device.
type extent struct {
	start clusterIndex
	count uint32
}

// allocated reports whether the run has clusters of its own.
func (e extent) allocated() bool { return e.start != 0 }

// xattr is one extended attribute. Its value is never changed in place.
type xattr struct {
	name  string
	value []byte
}

// xattrList holds attributes in the order in which they are stored.
type xattrList []xattr

func (l xattrList) find(name string) int {
	for i := range l {
		if l[i].name == name {
			return i
		}
	}
	return -1
}

// hasName is find for a name that need not become a string.
func (l xattrList) hasName(name []byte) bool {
	for i := range l {
		if l[i].name == string(name) {
			return true
		}
	}
	return false
}

// get is the value of an attribute. The caller does not change it.
func (l xattrList) get(name string) ([]byte, bool) {
	if i := l.find(name); i >= 0 {
		return l[i].value, true
	}
	return nil, false
}

// set replaces or appends an attribute. The list owns value afterwards.
func (l *xattrList) set(name string, value []byte) {
	if i := l.find(name); i >= 0 {
		(*l)[i].value = value
		return
	}
	*l = append(*l, xattr{name, value})
}

// remove deletes an attribute and reports whether it was there.
func (l *xattrList) remove(name string) bool {
	i := l.find(name)
	if i < 0 {
		return false
	}
	*l = append((*l)[:i], (*l)[i+1:]...)
	return true
}

// clone is a copy whose entries can be changed; values are shared.
func (l xattrList) clone() xattrList { return append(xattrList(nil), l...) }

// clone is a copy that shares nothing but xattr values.
func (s *blobState) clone() *blobState {
	c := *s
	c.xattrs = s.xattrs.clone()
	c.internal = s.internal.clone()
	c.extents = append([]extent(nil), s.extents...)
	c.pages = append([]pageIndex(nil), s.pages...)
	c.extentPages = append([]pageIndex(nil), s.extentPages...)
	return &c
}

// allPages yields the metadata pages of the blob, the root first.
func (s *blobState) allPages() iter.Seq[pageIndex] {
	return func(yield func(pageIndex) bool) {
		for _, list := range [2][]pageIndex{s.pages, s.extentPages} {
			for _, p := range list {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// heldPages is the number of them.
func (s *blobState) heldPages() int { return len(s.pages) + len(s.extentPages) }

// clusters is the length of the blob in clusters.
func (s *blobState) clusters() int64 {
	var n int64
	for _, e := range s.extents {
		n += int64(e.count)
	}
	return n
}

// allocatedClusters is the number of clusters that the blob owns.
func (s *blobState) allocatedClusters() int64 {
	var n int64
	for _, e := range s.extents {
		if e.allocated() {
			n += int64(e.count)
		}
	}
	return n
}

// appendExtent adds a run at the end of the blob and merges it with the last one where they are consecutive.
func (s *blobState) appendExtent(e extent) { s.extents = appendExtent(s.extents, e) }

func appendExtent(list []extent, e extent) []extent {
	if e.count == 0 {
		return list
	}
	if n := len(list); n > 0 && list[n-1].joins(e) {
		list[n-1].count += e.count
		return list
	}
	return append(list, e)
}

// joins reports whether next continues e on the device, or both are unallocated.
func (e extent) joins(next extent) bool {
	if uint64(e.count)+uint64(next.count) > 1<<32-1 {
		return false
	}
	if !e.allocated() || !next.allocated() {
		return !e.allocated() && !next.allocated()
	}
	return uint64(e.start)+uint64(e.count) == uint64(next.start)
}

// truncate cuts the blob to n clusters and returns the allocated runs it gave up.
func (s *blobState) truncate(n int64) (freed []extent) {
	kept := make([]extent, 0, len(s.extents))
	for _, e := range s.extents {
		keep := min(n, int64(e.count))
		n -= keep
		if keep > 0 {
			kept = append(kept, extent{e.start, uint32(keep)})
		}
		if rest := int64(e.count) - keep; rest > 0 && e.allocated() {
			freed = append(freed, extent{e.start + clusterIndex(keep), uint32(rest)})
		}
	}
	s.extents = kept
	return freed
}

// equal reports whether both describe the same blob, wherever their pages are.
func (s *blobState) equal(o *blobState) bool {
	if s.id != o.id || s.flags != o.flags || len(s.extents) != len(o.extents) {
		return false
	}
	for i := range s.extents {
		if s.extents[i] != o.extents[i] {
			return false
		}
	}
	return s.xattrs.equal(o.xattrs) && s.internal.equal(o.internal)
}

// equal reports whether both hold the same attributes, in any order.
func (l xattrList) equal(o xattrList) bool {
	if len(l) != len(o) {
		return false
	}
	for i := range l {
		if v, ok := o.get(l[i].name); !ok || !bytes.Equal(v, l[i].value) {
			return false
		}
	}
	return true
}

// refusal is why a blob that decoded well can only be listed.
func refusal(s *blobState) error {
	reason := ""
	switch {
	case s.flags.invalid&flagExternalSnapshot != 0:
		reason = "clone of an external snapshot"
	case s.interrupted():
		reason = "snapshot operation that was interrupted"
	case s.has(xattrParent):
		reason = "clone of a snapshot"
	case s.flags.invalid&flagThin != 0:
		reason = "thin-provisioned"
	case s.allocatedClusters() != s.clusters():
		reason = "clusters that are not allocated"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", ErrUnsupportedBlob, reason)
}

// interrupted reports whether a snapshot was being made or deleted when SPDK stopped.
func (s *blobState) interrupted() bool { return s.has(xattrSnapTmp) || s.has(xattrSnapRemove) }

// foreign reports whether the blob needs features of a newer version: it may own what this program does not see.
func (s *blobState) foreign() bool { return s.flags.invalid&^knownInvalidFlags != 0 }

func (s *blobState) has(internal string) bool {
	_, ok := s.internal.get(internal)
	return ok
}

// parent is the id of the snapshot that a clone reads through to.
func (s *blobState) parent() (BlobID, bool) {
	v, ok := s.internal.get(xattrParent)
	if !ok || len(v) != 8 {
		return 0, false
	}
	return BlobID(binary.LittleEndian.Uint64(v)), true
}

// encode serialises the blob into metadata pages: the root page first, then chain pages whose numbers alloc gives. It
// writes extents as runs, in SPDK's order of descriptors, and sets s.pages to the pages used and s.extentPages to none.
// On an error s is unchanged.
func (s *blobState) encode(alloc func() (pageIndex, error)) ([]mdPage, error) {
	w := pageWriter{id: s.id, alloc: alloc}
	if err := s.writeDescriptors(&w); err != nil {
		return nil, err
	}
	pages := w.finish()
	s.flags.invalid &^= flagExtentTable
	s.extentPages = nil
	s.pages = make([]pageIndex, len(pages))
	for i := range pages {
		s.pages[i] = pages[i].index
	}
	return pages, nil
}

func (s *blobState) writeDescriptors(w *pageWriter) error {
	flags := s.flags
	flags.invalid &^= flagExtentTable
	if err := w.start(); err != nil {
		return err
	}
	flags.marshal(w.descriptor(descFlags, flagsSize))
	if err := w.xattrs(descXattr, s.xattrs); err != nil {
		return err
	}
	if err := w.xattrs(descXattrInternal, s.internal); err != nil {
		return err
	}
	return w.extents(s.extents)
}

var errXattrTooLong = errors.New("xattr does not fit a metadata page")
