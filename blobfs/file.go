package blobfs

import (
	"fmt"
	"io"
	"sync/atomic"
)

// File is an open handle. Its methods are safe for any goroutine, except that Read and Write, which share an offset, are
// sequential, and that Close comes last. Several handles on one file see each other's bytes at once, synced or not.
type File struct {
	fs     *FS
	n      *node
	d      *fileData // nil for a directory
	name   string
	write  bool
	closed atomic.Bool

	pos   int64 // where Read and Write continue
	reads int   // Reads in a row
	ahead atomic.Pointer[readAhead]
}

// Name is the path the handle was opened with.
func (f *File) Name() string { return f.name }

// Read reads at the handle's offset. io.EOF at the exact size. Handles that Read again and again read ahead.
func (f *File) Read(p []byte) (int, error) {
	if f.reads++; f.reads == raSeqReads {
		f.SetSequential()
	}
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 {
		return n, nil
	}
	return n, err
}

// ReadAt reads like io.ReaderAt. Safe for any goroutine.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check(); err != nil {
		return 0, f.error("read", err)
	}
	var n int
	var err error
	if ahead := f.ahead.Load(); ahead != nil {
		n, err = ahead.readAt(p, off)
	} else {
		n, err = f.d.readAt(p, off)
	}
	return n, f.error("read", err)
}

// Write writes at the handle's offset and moves it. p is not kept.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

// WriteAt writes at off. A gap behind the end of the file reads as zeros. On an error the file holds the bytes of the
// returned count and what it held before.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if err := f.checkWrite(); err != nil {
		return 0, f.error("write", err)
	}
	n, err := f.d.writeAt(p, off)
	return n, f.error("write", err)
}

// Truncate changes the size. What is added reads as zeros. The new size is durable after Sync; a smaller one may become
// durable before.
func (f *File) Truncate(size int64) error {
	if err := f.checkWrite(); err != nil {
		return f.error("truncate", err)
	}
	return f.error("truncate", f.d.truncate(size))
}

// Preallocate reserves space for bytes [off, off+n). The size does not grow. Close gives back what lies behind it.
func (f *File) Preallocate(off, n int64) error {
	if err := f.checkWrite(); err != nil {
		return f.error("preallocate", err)
	}
	return f.error("preallocate", f.d.preallocate(off, n))
}

// Prefetch begins to read bytes [off, off+n) for a ReadAt to come. Advisory: it fails only on a bad handle.
func (f *File) Prefetch(off, n int64) error {
	if err := f.check(); err != nil {
		return f.error("prefetch", err)
	}
	if off >= 0 && n > 0 {
		f.readAhead().prefetch(off, n)
	}
	return nil
}

// SetSequential makes reads on this handle read ahead.
func (f *File) SetSequential() {
	if f.check() == nil {
		f.readAhead().setSequential()
	}
}

// readAhead returns the handle's read-ahead, made when it is first asked for.
func (f *File) readAhead() *readAhead {
	if ahead := f.ahead.Load(); ahead != nil {
		return ahead
	}
	f.ahead.CompareAndSwap(nil, newReadAhead(f.d))
	return f.ahead.Load()
}

// Sync makes the file's bytes, exact length and names durable; of a directory every name in the file system.
func (f *File) Sync() error {
	if f.closed.Load() {
		return f.error("sync", ErrClosed)
	}
	if f.d == nil {
		return f.error("sync", f.fs.Sync())
	}
	if f.fs.readOnly != "" {
		return f.error("sync", f.fs.usable()) // nothing here was written
	}
	return f.error("sync", f.d.sync())
}

// SyncTo starts to write back the first n bytes and promises nothing.
func (f *File) SyncTo(n int64) (fullSync bool, err error) {
	if err := f.checkWrite(); err != nil {
		return false, f.error("syncto", err)
	}
	return false, f.error("syncto", f.d.syncTo(n))
}

// Stat describes the file.
func (f *File) Stat() (Info, error) {
	if f.closed.Load() {
		return Info{}, f.error("stat", ErrClosed)
	}
	f.fs.ns.RLock()
	defer f.fs.ns.RUnlock()
	return f.n.info(), nil
}

// Close ends the handle. What was written goes to the device, but only Sync makes it durable. An error means that it
// could not; the file keeps what it has in memory, and the next Sync through another handle tries again.
func (f *File) Close() error {
	if f.closed.Swap(true) {
		return f.error("close", ErrClosed)
	}
	if f.d == nil {
		return nil
	}
	if ahead := f.ahead.Load(); ahead != nil {
		ahead.close()
	}
	var err error
	if f.write && !f.fs.closed.Load() {
		err = f.d.endWriter()
	}
	if e := f.fs.release(f.n, f.write); err == nil {
		err = e
	}
	return f.error("close", err)
}

// endWriter brings everything to the device before a writer leaves. The last one drops the buffers and gives back
// clusters that were taken ahead.
func (d *fileData) endWriter() error {
	if d.unreachable() {
		return nil // release discards it all
	}
	d.wmu.Lock()
	defer d.wmu.Unlock()
	d.n.stamp()
	err := d.writeOutAll()
	if d.writers.Load() > 1 || err != nil {
		return err
	}
	d.setCurrent(nil)
	d.scrap = -1
	d.ahead.reset()
	if d.fs.writable() != nil {
		return nil
	}
	return d.trim()
}

// unreachable reports whether the file is gone once this handle is closed.
func (d *fileData) unreachable() bool {
	d.fs.ns.RLock()
	defer d.fs.ns.RUnlock()
	return d.n.links == 0 && d.n.opens == 1
}

// check returns an error on a closed handle or a directory.
func (f *File) check() error {
	switch {
	case f.closed.Load():
		return ErrClosed
	case f.d == nil:
		return ErrIsDir
	}
	return f.fs.usable()
}

// checkWrite is check for operations that change the file.
func (f *File) checkWrite() error {
	if err := f.check(); err != nil {
		return err
	}
	if !f.write {
		return fmt.Errorf("%w: opened for reading", ErrInvalid)
	}
	return nil
}

// error names the operation and the file. io.EOF stays as it is, as its users compare it.
func (f *File) error(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return pathError(op, f.name, err)
}
