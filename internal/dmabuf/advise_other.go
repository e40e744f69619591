//go:build unix && !linux

package dmabuf

// adviseHuge does nothing: huge pages are asked for on Linux only.
func adviseHuge([]byte) {}

const mapNoReserve = 0

// discard gives nothing back: what MADV_DONTNEED leaves behind differs between systems.
func discard([]byte) bool { return false }
