package blobstore

import "sync/atomic"

// Blob is an open blob. Data I/O is in multiples of Store.BlockSize at such offsets, into buffers that should come from
// internal/dmabuf (others are bounced). Any goroutine may use it; its extents may change under Commit while I/O runs.
type Blob struct {
	store *Store
	id    BlobID
	fixed bool                      // its data is marked read-only
	ext   atomic.Pointer[extentMap] // nil once the blob is deleted

	// Guarded by store.mu.
	st   *blobState  // as of the newest transaction; replaced, not changed, except for the pages a checkpoint gives it
	need int         // md pages that st takes
	uses []*useCount // of maps before the newest shrink whose I/O may still be under way
}

// newBlob wraps a state.
func newBlob(s *Store, st *blobState) *Blob {
	b := &Blob{}
	b.init(s, st, &firstMap{})
	return b
}

func (b *Blob) init(s *Store, st *blobState, m *firstMap) {
	b.store, b.id, b.st = s, st.id, st
	b.fixed = st.flags.dataReadOnly() || st.id == s.journalID
	if st.refused == nil {
		b.need = pagesNeeded(st)
		b.ext.Store(m.of(&s.super, st.extents))
	}
}

// held is how many md pages the blob has.
func (b *Blob) held() int { return max(1, b.st.heldPages()) }

// owed is how many it will take beyond those.
func (b *Blob) owed() int { return max(0, b.need-b.held()) }

// ID is the blob's id.
func (b *Blob) ID() BlobID { return b.id }

// Clusters is the blob's length in clusters, 0 once it is deleted.
func (b *Blob) Clusters() int64 { return b.Size() / int64(b.store.super.clusterSize) }

// Size is the blob's length in bytes: whole clusters.
func (b *Blob) Size() int64 {
	if m := b.ext.Load(); m != nil {
		return m.size
	}
	return 0
}

// Xattr returns an attribute. The caller does not change the value.
func (b *Blob) Xattr(name string) ([]byte, bool) {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	return b.st.xattrs.get(name)
}

// Xattrs returns a copy of all attributes.
func (b *Blob) Xattrs() map[string][]byte {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	return b.st.xattrs.asMap()
}

// EachXattr calls f for each attribute, in stored order, without copying. f does not change the value, calls no method
// of the store, and may keep the value, which never changes.
func (b *Blob) EachXattr(f func(name string, value []byte)) {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for i := range b.st.xattrs {
		f(b.st.xattrs[i].name, b.st.xattrs[i].value)
	}
}

// acquire returns the blob's present map and keeps its clusters from being reused until release. It is nil once the
// blob is deleted.
func (b *Blob) acquire() *extentMap {
	for {
		m := b.ext.Load()
		if m == nil {
			return nil
		}
		m.use.n.Add(1)
		if b.ext.Load() == m {
			return m
		}
		b.release(m) // it changed in between: whoever changed it may have seen a count of zero
	}
}

func (b *Blob) release(m *extentMap) {
	if m.use.n.Add(-1) == 0 && m.use.retired.Load() {
		b.store.kick()
	}
}

// remap publishes a state whose clusters changed. If clusters were given up it returns the counts of all I/O that
// may still use them. The caller holds store.mu.
func (b *Blob) remap(st *blobState, shrunk bool) []*useCount {
	old := b.ext.Load()
	if !shrunk {
		b.ext.Store(newExtentMap(&b.store.super, st.extents, old.use))
		return nil
	}
	b.ext.Store(newExtentMap(&b.store.super, st.extents, &useCount{}))
	return b.retire(old)
}

// retire returns the counts of all I/O that old or an earlier map may still carry.
func (b *Blob) retire(old *extentMap) []*useCount {
	old.use.retired.Store(true)
	var busy []*useCount
	for _, u := range append(b.uses, old.use) {
		if u.n.Load() != 0 {
			busy = append(busy, u)
		}
	}
	b.uses = busy
	return busy
}

// pagesNeeded is how many md pages encode takes, without encoding.
func pagesNeeded(st *blobState) int {
	pages, used := 1, descHeaderSize+flagsSize
	for _, list := range [2]xattrList{st.xattrs, st.internal} {
		for _, x := range list {
			size := descHeaderSize + xattrHeaderSize + len(x.name) + len(x.value)
			if used+size > pageBodySize {
				pages, used = pages+1, 0
			}
			used += size
		}
	}
	for n := len(st.extents); n > 0; {
		fit := min(n, (pageBodySize-used-descHeaderSize)/rleEntrySize)
		if fit <= 0 {
			pages, used = pages+1, 0
			continue
		}
		used += descHeaderSize + fit*rleEntrySize
		n -= fit
	}
	return pages
}
