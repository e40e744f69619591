package blobfs

// Version names the present content of the file for whoever caches it: as long as the file system is mounted, no other
// file and no other content of this one has the same number, whatever becomes of its name and its blob. It is 0 while
// there is nothing to name: the file is open for writing, the handle is closed, or it is a directory's. Safe for any
// goroutine.
//
// A cache asks before each use. The answer may be out of date as soon as somebody opens the file for writing, as the
// bytes of a read that runs at that moment may be.
func (f *File) Version() uint64 {
	if f.check() != nil {
		return 0
	}
	if v := f.n.version.Load(); v != 0 {
		return v
	}
	return f.newVersion()
}

// newVersion gives the content its number. A handle for writing is made under FS.ns, so none can be made meanwhile.
func (f *File) newVersion() uint64 {
	if f.d.writers.Load() > 0 {
		return 0
	}
	f.fs.ns.RLock()
	defer f.fs.ns.RUnlock()
	if f.d.writers.Load() > 0 {
		return 0
	}
	f.n.version.CompareAndSwap(0, f.fs.versions.Add(1))
	return f.n.version.Load()
}

// ForgetVersion gives the content of a file a new Version, so that nothing that was cached of it is used any more: what
// was read may not have been what is on the device.
func (fs *FS) ForgetVersion(name string) error {
	if err := fs.usable(); err != nil {
		return pathError("version", name, err)
	}
	fs.ns.RLock()
	defer fs.ns.RUnlock()
	n, err := fs.lookup(name)
	if err != nil {
		return pathError("version", name, err)
	}
	n.version.Store(0)
	return nil
}
