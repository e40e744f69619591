//go:build linux

package guest

import "unsafe"

func ptr(p *byte) unsafe.Pointer { return unsafe.Pointer(p) }
