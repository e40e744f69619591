package blobstore

// EachXattr calls f for each attribute, in stored order, without copying. f does not change the value, calls no method
// of the store, and may keep the value, which never changes.
func (b *Blob) EachXattr(f func(name string, value []byte)) {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for i := range b.st.xattrs {
		f(b.st.xattrs[i].name, b.st.xattrs[i].value)
	}
}
