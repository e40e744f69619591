//go:build !unix

package dmabuf

import "fmt"

// mapMemory returns memory that holds an aligned buffer of n bytes; here the Go heap, which does not move it.
func mapMemory(n int) []byte {
	align := MinClass
	if n >= hugePage {
		align = hugePage
	}
	return make([]byte, n+align)
}

func unmapMemory([]byte) {}

func adviseHuge([]byte) {}

func mapRegion(n int64) ([]byte, error) {
	if n > maxHeapRegion {
		return nil, fmt.Errorf("%d bytes of memory, at most %d are possible here", n, int64(maxHeapRegion))
	}
	return make([]byte, n), nil
}

func unmapRegion([]byte) error { return nil }

func discard([]byte) bool { return false }

// maxHeapRegion bounds regions where the Go heap has to hold them, in bytes.
const maxHeapRegion = 64 << 30
