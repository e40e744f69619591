package vfsadapter

import (
	"github.com/cockroachdb/pebble/v2/vfs"
)

// cachedFile is a table: it does not change while it is open, and is read in blocks that are read again.
type cachedFile struct {
	*file
	cache *BlockCache
}

// cached puts the cache before a file that Pebble opens as a table. A handle that reads ahead would lose the order of
// its reads to a cache that answers some of them.
func (a *FS) cached(f *file, opts []vfs.OpenOption) vfs.File {
	if a.opts.Cache == nil || !opensTable(opts) {
		return f
	}
	return &cachedFile{file: f, cache: a.opts.Cache}
}

// ReadAt asks the cache first. The version is asked for each time: it vouches that no one has the file open for writing,
// that the handle is open and that the content is not distrusted.
func (f *cachedFile) ReadAt(p []byte, off int64) (int, error) {
	version := f.f.Version()
	if version == 0 || len(p) == 0 {
		return f.file.ReadAt(p, off)
	}
	k := blockKey{version, off}
	if f.cache.get(k, p) {
		return len(p), nil
	}
	n, err := f.file.ReadAt(p, off)
	if err == nil && n == len(p) {
		f.cache.put(k, p)
	}
	return n, err
}

// Distrust makes the next read of each block of a file go to the device: what the cache has of it may be what a device
// returned once and will not return again. It waits for a running change of the namespace, at most. Compactions read such
// a file at leisure from then on (damaged.go).
func (a *FS) Distrust(name string) error {
	a.damaged.add(name)
	return pathError("distrust", name, a.fs.ForgetVersion(name))
}
