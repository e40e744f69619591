package dmabuf

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages. A kernel without them serves the memory in small ones.
func adviseHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
