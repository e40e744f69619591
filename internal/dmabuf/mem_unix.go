//go:build unix

package dmabuf

import "fmt"

// mapMemory returns zeroed memory from the operating system that holds an aligned buffer of n bytes. Without
// memory there is nothing a caller could do better than the Go runtime does: it panics.
func mapMemory(n int) []byte {
	huge := n >= hugePage
	if huge {
		n += hugePage
	}
	b, err := mapPages(n)
	if err != nil {
		panic(fmt.Sprintf("dmabuf: out of memory: mapping %d bytes: %v", n, err))
	}
	if huge {
		adviseHuge(b)
	}
	return b
}

func unmapMemory(b []byte) {
	if b == nil {
		return
	}
	if err := unmapPages(b); err != nil {
		panic(fmt.Sprintf("dmabuf: unmapping %d bytes: %v", len(b), err))
	}
}
