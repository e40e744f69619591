//go:build unix

package dmabuf

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func mapRegion(n int64) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|mapNoReserve)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes of memory: %w", n, err)
	}
	return b, nil
}

func unmapRegion(b []byte) error { return unix.Munmap(b) }
