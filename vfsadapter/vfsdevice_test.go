package vfsadapter

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobkv/blobkv/bdev"
)

// vfsDevice is a block device in files of a vfs.FS: with Pebble's crashable file system in memory below it, a crash of
// that file system is a power cut of the device. One file per segment keeps its syncs cheap (they copy the whole file)
// and makes the device sparse.
type vfsDevice struct {
	fs    vfs.FS
	dir   string
	props bdev.Properties

	mu       sync.Mutex
	segments map[int64]vfs.File
	dirty    map[int64]bool // written since the last flush
	newNames bool           // segments were made since the last flush
}

const segmentSize = 256 << 10

// openVFSDevice opens the device in the directory dir of fs; it is blank if the directory is.
func openVFSDevice(fs vfs.FS, dir string, size int64) (*bdev.Device, error) {
	d := &vfsDevice{fs: fs, dir: dir, segments: map[int64]vfs.File{}, dirty: map[int64]bool{}}
	d.props = bdev.Properties{
		BlockSize: 4096, BlockCount: size / 4096, AtomicWriteUnit: 4096, MaxTransfer: segmentSize,
		OptimalBoundary: segmentSize, WriteCache: true, Durable: true,
		Native: bdev.Ops(bdev.OpRead, bdev.OpWrite, bdev.OpFlush, bdev.OpWriteZeroes),
		Sync:   bdev.Ops(bdev.OpFlush),
	}
	if err := d.openSegments(); err != nil {
		return nil, err
	}
	return bdev.New("vfs:"+dir, d, bdev.Options{})
}

func (d *vfsDevice) openSegments() error {
	if err := d.fs.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	if err := d.syncDir("/"); err != nil {
		return err
	}
	names, err := d.fs.List(d.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		var i int64
		if _, err := fmt.Sscanf(name, "%x", &i); err != nil {
			return err
		}
		if d.segments[i], err = d.fs.OpenReadWrite(d.path(i), vfs.WriteCategoryUnspecified); err != nil {
			return err
		}
	}
	return nil
}

func (d *vfsDevice) path(i int64) string { return d.fs.PathJoin(d.dir, fmt.Sprintf("%08x", i)) }

func (d *vfsDevice) syncDir(name string) error {
	f, err := d.fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *vfsDevice) Properties() bdev.Properties { return d.props }

func (d *vfsDevice) NewQueue() (bdev.Queue, error) { return bdev.InlineQueue(d.Execute, nil), nil }

func (d *vfsDevice) Execute(r *bdev.Request) error {
	switch r.Op {
	case bdev.OpRead:
		return d.read(r)
	case bdev.OpWrite:
		return d.write(r.Offset, r.Buf)
	case bdev.OpWriteZeroes:
		return d.writeZeroes(r.Offset, r.Length)
	case bdev.OpFlush:
		return d.flush()
	default:
		return bdev.ErrUnsupported
	}
}

// read fills the buffer; what was never written is zero.
func (d *vfsDevice) read(r *bdev.Request) error {
	clear(r.Buf)
	f := d.segment(r.Offset/segmentSize, false)
	if f == nil {
		return nil
	}
	_, err := f.ReadAt(r.Buf, r.Offset%segmentSize)
	return err
}

// write writes within one segment.
func (d *vfsDevice) write(off int64, b []byte) error {
	f := d.segment(off/segmentSize, true)
	if f == nil {
		return bdev.ErrIO
	}
	_, err := f.WriteAt(b, off%segmentSize)
	// Behind the write: a flush that runs meanwhile does not cover it and must not clear the mark.
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirty[off/segmentSize] = true
	return err
}

// writeZeroes makes no segments: the metadata region of a fresh store would be most of what each crash copies.
func (d *vfsDevice) writeZeroes(off, length int64) error {
	for length > 0 {
		n := min(length, segmentSize-off%segmentSize)
		if d.segment(off/segmentSize, false) != nil {
			if err := d.write(off, make([]byte, n)); err != nil {
				return err
			}
		}
		off, length = off+n, length-n
	}
	return nil
}

// segment returns the file of a segment; nil if there is none and it shall not be made.
func (d *vfsDevice) segment(i int64, write bool) vfs.File {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.segments[i]
	if f != nil || !write {
		return f
	}
	f, err := d.fs.Create(d.path(i), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil
	}
	// Full length at once: growing byte by byte is what MemFS does in WriteAt.
	if _, err := f.Write(make([]byte, segmentSize)); err != nil {
		return nil
	}
	d.segments[i] = f
	d.newNames = true
	return f
}

// flush syncs what was written before it began.
func (d *vfsDevice) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.dirty {
		if err := d.segments[i].Sync(); err != nil {
			return err
		}
		delete(d.dirty, i)
	}
	if !d.newNames {
		return nil
	}
	d.newNames = false
	return d.syncDir(d.dir)
}

func (d *vfsDevice) Resize(int64) error { return bdev.ErrUnsupported }

func (d *vfsDevice) Close() error {
	var errs []error
	for _, f := range d.segments {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
