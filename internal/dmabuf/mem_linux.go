package dmabuf

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages. A kernel without them serves the memory in small ones.
func adviseHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }

// mapNoReserve lets a region be larger than memory as long as little of it is used.
const mapNoReserve = unix.MAP_NORESERVE

// discard gives whole pages back to the system; they read as zeros then.
func discard(b []byte) bool { return unix.Madvise(b, unix.MADV_DONTNEED) == nil }
