package aiobdev

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/filelock"
)

// Open opens an image or a block device and locks it. Errors: bdev.ErrInUse when another opener is in the way,
// bdev.ErrNotExist, bdev.ErrInvalid for options that do not fit, bdev.ErrUnsupported for a kind of file that cannot be
// served, and what the system says, such as fs.ErrPermission; errors.Is finds each.
func Open(path string, o Options) (*Backend, error) {
	b := &Backend{path: path, readOnly: o.ReadOnly, depth: o.QueueDepth}
	if b.depth <= 0 {
		b.depth = DefaultQueueDepth
	}
	b.depth = min(b.depth, maxQueueDepth)
	if err := b.open(o); err != nil {
		b.abandon()
		return nil, fmt.Errorf("aio: %s: %w", path, err)
	}
	return b, nil
}

// open does the steps of Open; what it has opened or made when it fails is abandon's to clean up.
func (b *Backend) open(o Options) error {
	if err := b.openFile(o); err != nil {
		return err
	}
	if err := b.checkKind(); err != nil {
		return err
	}
	if err := b.lock(); err != nil {
		return err
	}
	if b.block {
		return b.setUpDevice(o)
	}
	return b.setUpImage(o)
}

// abandon closes what a failed Open opened and removes the image that it created.
func (b *Backend) abandon() {
	if !b.opened {
		return
	}
	if b.fresh {
		unix.Unlink(b.path)
	}
	unix.Close(b.fd)
}

// openFile opens the file, or creates it if there is none and o says so.
func (b *Backend) openFile(o Options) error {
	flags := unix.O_RDWR
	if o.ReadOnly {
		flags = unix.O_RDONLY
	}
	exclusive, err := exclusiveFlag(b.path, o)
	if err != nil {
		return err
	}
	err = b.openWith(flags|exclusive, 0)
	if err == unix.ENOENT && o.Create && !o.ReadOnly {
		return b.create(o)
	}
	if err == unix.ENOENT {
		return fmt.Errorf("%w (%w)", bdev.ErrNotExist, err)
	}
	if err == unix.EBUSY && exclusive != 0 {
		return fmt.Errorf("%w: the block device is mounted or claimed by the kernel or another program (%w)",
			bdev.ErrInUse, err)
	}
	return err
}

// create makes the image. O_EXCL makes sure that it is ours and empty.
func (b *Backend) create(o Options) error {
	if o.Size <= 0 {
		return fmt.Errorf("%w: a new image needs a size", bdev.ErrInvalid)
	}
	if err := b.openWith(unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600); err != nil {
		return err
	}
	b.fresh = true
	return nil
}

// exclusiveFlag returns O_EXCL for block devices that are opened to be written: the kernel then refuses those that a
// file system or another exclusive opener uses. Opening other special files could block, so they are refused here.
func exclusiveFlag(path string, o Options) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, nil // open reports it, or creates the file
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		if o.ReadOnly {
			return 0, nil
		}
		return unix.O_EXCL, nil
	case unix.S_IFREG:
		return 0, nil
	default:
		return 0, errKind
	}
}

var errKind = fmt.Errorf("%w: neither a regular file nor a block device", bdev.ErrUnsupported)

// openWith opens b.path and turns direct I/O on where the file system has it. Asking for O_DIRECT in open itself could
// fail after a new file was made. O_NOATIME spares the host a metadata update for reads; it is the owner's privilege.
func (b *Backend) openWith(flags int, mode uint32) error {
	flags |= unix.O_CLOEXEC
	fd, err := openRetry(b.path, flags|unix.O_NOATIME, mode)
	if err == unix.EPERM {
		fd, err = openRetry(b.path, flags, mode)
	}
	if err != nil {
		return err
	}
	b.fd, b.opened = fd, true
	b.direct = setDirect(fd, true) == nil
	return nil
}

// setDirect switches direct I/O of an open file on or off.
func setDirect(fd int, on bool) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	flags &^= unix.O_DIRECT
	if on {
		flags |= unix.O_DIRECT
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
	return err
}

func openRetry(path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Open(path, flags, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// checkKind looks at what was opened, which may have changed since the name was looked at.
func (b *Backend) checkKind() error {
	var st unix.Stat_t
	if err := unix.Fstat(b.fd, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		b.block = true
	case unix.S_IFREG:
		b.setSize(st.Size)
	default:
		return errKind
	}
	return nil
}

// lock keeps other openers out.
func (b *Backend) lock() error {
	mode := filelock.Exclusive
	if b.readOnly {
		mode = filelock.Shared
	}
	err := filelock.Lock(uintptr(b.fd), mode)
	if err == nil {
		return nil
	}
	if errors.Is(err, filelock.ErrHeld) {
		return &inUseError{err}
	}
	return fmt.Errorf("lock: %w", err)
}

// inUseError reads as the lock's error, which names the owner, and is bdev.ErrInUse.
type inUseError struct{ error }

func (e *inUseError) Is(target error) bool { return target == bdev.ErrInUse }
func (e *inUseError) Unwrap() error        { return e.error }

// setUpDevice learns size and blocks of a block device.
func (b *Backend) setUpDevice(o Options) error {
	size, logical, err := blockDeviceSize(b.fd)
	if err != nil {
		return err
	}
	if size < o.Size {
		return fmt.Errorf("%w: the device has %d bytes, %d are asked for", bdev.ErrInvalid, size, o.Size)
	}
	g, ok := directGeometry(b.fd)
	if !ok {
		g = geometry{offsetAlign: logical, memoryAlign: logical, direct: true}
	}
	g.offsetAlign = max(g.offsetAlign, logical)
	b.setSize(size)
	b.durable = true
	return b.setGeometry(g, o)
}

// setUpImage brings an image to its size and learns what direct I/O on it needs.
func (b *Backend) setUpImage(o Options) error {
	name, durable := fileSystem(b.fd)
	b.durable = durable
	if o.Size > b.size.Load() && !b.readOnly {
		if err := b.grow(o.Size); err != nil {
			return err
		}
	}
	if b.fresh {
		if err := syncFolder(filepath.Dir(b.path)); err != nil {
			return err
		}
	}
	g := b.imageGeometry()
	if err := b.setGeometry(g, o); err != nil {
		return err
	}
	b.describe(name)
	return nil
}

// imageGeometry returns what I/O on the image needs, and switches direct I/O off where the file system only seems to
// take it.
func (b *Backend) imageGeometry() geometry {
	buffered := geometry{offsetAlign: sectorSize, memoryAlign: 1}
	if !b.direct {
		return buffered
	}
	g, ok := directGeometry(b.fd)
	if !ok {
		g = probeGeometry(b.fd)
	}
	if g.direct {
		return g
	}
	b.direct = false
	if setDirect(b.fd, false) != nil {
		return geometry{offsetAlign: pageSize, memoryAlign: pageSize} // as strict as direct I/O can be
	}
	return buffered
}

// setGeometry fixes block size and alignment.
func (b *Backend) setGeometry(g geometry, o Options) error {
	size, err := chooseBlockSize(o.BlockSize, g.offsetAlign)
	if err != nil {
		return err
	}
	if b.size.Load() < int64(size) {
		return fmt.Errorf("%w: %d bytes are less than one block of %d", bdev.ErrInvalid, b.size.Load(), size)
	}
	b.blockSize, b.bufferAlign = size, g.memoryAlign
	return nil
}

// describe writes the note an operator should see.
func (b *Backend) describe(fileSystem string) {
	switch {
	case !b.durable && b.direct:
		b.note = fileSystem + " is in RAM: contents are lost when the machine stops"
	case !b.durable:
		b.note = fileSystem + " is in RAM: contents are lost when the machine stops; no O_DIRECT there: buffered I/O"
	case !b.direct:
		b.note = "O_DIRECT refused by " + fileSystem + ": buffered I/O"
	}
}

// grow sets an image's size, durably; the new part is a hole.
func (b *Backend) grow(size int64) error {
	if errno := retry(func() error { return unix.Ftruncate(b.fd, size) }); errno != 0 {
		return fmt.Errorf("grow to %d bytes: %w", size, ioError(errno))
	}
	if errno := retry(func() error { return unix.Fsync(b.fd) }); errno != 0 {
		return fmt.Errorf("fsync after growing to %d bytes: %w", size, ioError(errno))
	}
	b.setSize(size)
	return nil
}

// syncFolder makes the name of a new image durable.
func syncFolder(path string) error {
	fd, err := openRetry(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", path, err)
	}
	defer unix.Close(fd)
	if errno := retry(func() error { return unix.Fsync(fd) }); errno != 0 && errno != unix.EINVAL {
		return fmt.Errorf("fsync folder %s: %w", path, errno)
	}
	return nil
}
