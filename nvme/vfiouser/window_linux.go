package vfiouser

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// window is a part of BAR 0 that is mapped.
type window struct {
	offset uint64
	bytes  []byte
}

// part returns size bytes from an offset of BAR 0 on, nil if the window does not hold all of them.
func (w window) part(offset uint64, size int) []byte {
	n := uint64(len(w.bytes))
	if offset < w.offset || offset-w.offset > n || uint64(size) > n-(offset-w.offset) {
		return nil
	}
	at := offset - w.offset
	return w.bytes[at : at+uint64(size) : at+uint64(size)]
}

// maxWindows bounds what a server may have us map of its BAR 0, in bytes; doorbells and a controller memory buffer fit.
const maxWindows = 1 << 30

// mapWindows maps what the region offers: the areas that it names, all of it if it names none. Areas that are not whole pages
// are left to messages.
func mapWindows(fd int, r *wire.RegionInfo) ([]window, error) {
	areas := r.Areas
	if len(areas) == 0 {
		areas = []wire.Area{{Offset: 0, Size: r.Size}}
	}
	var ws []window
	total := uint64(0)
	for _, a := range areas {
		if (r.Offset+a.Offset)%pageSize != 0 || a.Size%pageSize != 0 {
			continue
		}
		if total += a.Size; total > maxWindows {
			return ws, fmt.Errorf("%w: the server offers more than %d bytes of BAR 0 to map", ErrProtocol, maxWindows)
		}
		b, err := mapShared(fd, r.Offset+a.Offset, a.Size, true)
		if err != nil {
			return ws, fmt.Errorf("mapping %d bytes of BAR 0 at %#x: %w", a.Size, a.Offset, err)
		}
		ws = append(ws, window{a.Offset, b})
	}
	return ws, nil
}

var pageSize = uint64(unix.Getpagesize())

// errShortFile is a descriptor whose file does not hold what is to be mapped: touching it would fault.
var errShortFile = errors.New("the file is shorter than what is to be mapped")

// populateMax is up to where the pages of a map are looked up at once, not on the path of a command, in bytes. The memory of
// a whole virtual machine is not: that would make all of it exist.
const populateMax = 16 << 20

// canShrink tells whether the file behind a descriptor may become shorter: it is none that can be sealed, or nobody has.
func canShrink(fd int) bool {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	return err != nil || seals&unix.F_SEAL_SHRINK == 0
}

// mapShared maps part of a peer's file.
func mapShared(fd int, offset, size uint64, writeable bool) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && (uint64(st.Size) < size || uint64(st.Size)-size < offset) {
		return nil, fmt.Errorf("%w: %d bytes at %d of %d", errShortFile, size, offset, st.Size)
	}
	prot := unix.PROT_READ
	if writeable {
		prot |= unix.PROT_WRITE
	}
	flags := unix.MAP_SHARED
	if size <= populateMax {
		flags |= unix.MAP_POPULATE
	}
	return unix.Mmap(fd, int64(offset), int(size), prot, flags)
}
