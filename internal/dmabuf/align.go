package dmabuf

import "unsafe"

// hugePage is the size of a transparent huge page on the platforms that matter.
const hugePage = 2 << 20

// IsAligned tells whether a buffer starts at a multiple of align, a power of two.
func IsAligned(b []byte, align int) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))&uintptr(align-1) == 0
}

// Aligned returns the part of b that starts at the first multiple of align, a power of two; empty if there is none.
func Aligned(b []byte, align int) []byte {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	skip := int(-start & uintptr(align-1))
	if skip > len(b) {
		return nil
	}
	return b[skip:]
}

// alignOf is what a class is aligned to: large buffers to huge pages, so that the kernel can back them by those.
func alignOf(class int) int {
	if classBytes(class) >= hugePage {
		return hugePage
	}
	return MinClass
}
