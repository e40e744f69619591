//go:build !unix

package dmabuf

// mapMemory returns memory that holds an aligned buffer of n bytes; here the Go heap, which does not move it.
func mapMemory(n int) []byte {
	align := MinClass
	if n >= hugePage {
		align = hugePage
	}
	return make([]byte, n+align)
}

func unmapMemory([]byte) {}
