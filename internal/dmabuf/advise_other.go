//go:build unix && !linux

package dmabuf

// adviseHuge does nothing: huge pages are asked for on Linux only.
func adviseHuge([]byte) {}
