package dmabuf

import (
	"fmt"
	"math"
)

// Region is zeroed memory outside the Go heap, of any size, backed by real memory only where it was written to. It is
// for RAM devices and caches; buffers come from a Pool.
type Region struct {
	mapped []byte
	bytes  []byte
}

// NewRegion maps n bytes, 4 KiB aligned; large ones are aligned to huge pages, and get them where the system has them.
func NewRegion(n int64) (*Region, error) {
	if n <= 0 || n > math.MaxInt-hugePage {
		return nil, fmt.Errorf("%d bytes of memory do not fit the address space", n)
	}
	mapped, err := mapRegion(n + hugePage)
	if err != nil {
		return nil, err
	}
	if n >= hugePage {
		adviseHuge(mapped)
	}
	return &Region{mapped: mapped, bytes: Aligned(mapped, hugePage)[:n:n]}, nil
}

// Bytes is the memory. It is gone after Free.
func (g *Region) Bytes() []byte { return g.bytes }

// Zero makes a part of the region zeros, giving whole pages back to the system.
func (g *Region) Zero(off, n int64) {
	b := g.bytes[off : off+n]
	head := Aligned(b, MinClass)
	pages := head[:len(head)&^(MinClass-1)]
	if len(pages) < discardMin || !discard(pages) {
		clear(b)
		return
	}
	clear(b[:len(b)-len(head)])
	clear(head[len(pages):])
}

// discardMin is where giving pages back becomes cheaper than clearing them, in bytes.
const discardMin = 64 << 10

// Free unmaps the region.
func (g *Region) Free() error {
	m := g.mapped
	g.mapped, g.bytes = nil, nil
	return unmapRegion(m)
}
