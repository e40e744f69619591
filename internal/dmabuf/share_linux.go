package dmabuf

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ShareWindow divides the file of shareable memory, in bytes: no buffer lies in two windows. The file takes no memory where no
// buffer is.
const ShareWindow = 1 << 30

// shareSize is what the file has from the start, in bytes, enough for ever: whoever has its descriptor cannot change its size, and
// no limit stands in the way later, when no error could be returned.
const shareSize = 1 << 62

// shared is the file in memory that shareable buffers are parts of. A part is never used again once its buffer is
// unmapped; its memory goes back to the system.
var shared struct {
	on atomic.Bool
	sync.Mutex
	fd      int
	end     int64          // of the last buffer
	regions []sharedRegion // by start
}

// sharedRegion is one buffer of the file.
type sharedRegion struct {
	start  uintptr
	bytes  int
	offset int64
}

// MakeShareable puts the buffers that pools map from now on into a file in memory, so that other processes can be given
// access (Backing). Pools hand out no idle buffer from before; those that are out stay as they are. It cannot be undone and
// costs one descriptor.
func MakeShareable() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.on.Load() {
		return nil
	}
	fd, err := makeShareFile()
	if err != nil {
		return fmt.Errorf("making shareable memory: %w", err)
	}
	shared.fd = fd
	shared.on.Store(true)
	epoch.Add(1)
	return nil
}

func makeShareFile() (int, error) {
	fd, err := unix.MemfdCreate("dmabuf", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, err
	}
	err = unix.Ftruncate(fd, shareSize)
	if errors.Is(err, unix.EFBIG) {
		err = fmt.Errorf("the limit on the size of files counts for it and has to be off (ulimit -f unlimited): %w", err)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// Backing says which file b is a part of, and where it starts there. The descriptor stays the package's. It is false for
// memory that is not shareable.
func Backing(b []byte) (fd int, offset int64, ok bool) {
	if !shared.on.Load() || len(b) == 0 {
		return -1, 0, false
	}
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	shared.Lock()
	defer shared.Unlock()
	i, exact := findShared(start)
	if !exact {
		i--
	}
	if i < 0 {
		return -1, 0, false
	}
	r := shared.regions[i]
	if at := start - r.start; at < uintptr(r.bytes) && uintptr(len(b)) <= uintptr(r.bytes)-at {
		return shared.fd, r.offset + int64(at), true
	}
	return -1, 0, false
}

// findShared is called with the lock held.
func findShared(start uintptr) (int, bool) {
	return slices.BinarySearchFunc(shared.regions, start, func(r sharedRegion, at uintptr) int {
		switch {
		case r.start < at:
			return -1
		case r.start > at:
			return 1
		default:
			return 0
		}
	})
}

// mapPages maps n bytes, shareable ones if that was asked for.
func mapPages(n int) ([]byte, error) {
	if !shared.on.Load() {
		return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	}
	if n > ShareWindow {
		return nil, fmt.Errorf("%d bytes in one piece of shareable memory, at most %d: %w", n, ShareWindow, unix.EINVAL)
	}
	shared.Lock()
	defer shared.Unlock()
	at := shared.end
	window := at / ShareWindow * ShareWindow
	if at+int64(n) > window+ShareWindow {
		window += ShareWindow
		at = window
	}
	b, err := unix.Mmap(shared.fd, at, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	i, _ := findShared(start)
	shared.regions = slices.Insert(shared.regions, i, sharedRegion{start, n, at})
	shared.end = at + int64(n)
	return b, nil
}

// unmapPages gives the memory back, also when another process still has it mapped.
func unmapPages(b []byte) error {
	if shared.on.Load() {
		if err := forgetShared(b); err != nil {
			return err
		}
	}
	return unix.Munmap(b)
}

func forgetShared(b []byte) error {
	shared.Lock()
	defer shared.Unlock()
	i, ok := findShared(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	if !ok {
		return nil // older than MakeShareable
	}
	offset := shared.regions[i].offset
	shared.regions = slices.Delete(shared.regions, i, i+1)
	return unix.Fallocate(shared.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, int64(len(b)))
}
