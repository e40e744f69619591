package nvme

import (
	"fmt"

	"github.com/blobkv/blobkv/nvme/spec"
)

// lookup finds the registered memory that holds an address. The last one is remembered. It is called with mu held.
func (q *Queue) lookup(at uintptr) (*region, error) {
	table := q.c.memory.table.Load()
	if table == q.hotTable && at-q.hot.start < q.hot.end-q.hot.start {
		return &q.hot, nil
	}
	r, ok := q.c.memory.find(*table, at)
	if !ok {
		return nil, fmt.Errorf("address %#x: %w", at, ErrNotMapped)
	}
	q.hot, q.hotTable = r, table
	return &q.hot, nil
}

// contiguous is the address of a buffer for the controller, which lies in one region.
func (q *Queue) contiguous(b []byte) (uint64, error) {
	at := address(b)
	r, err := q.lookup(at)
	if err != nil {
		return 0, err
	}
	if uintptr(len(b)) > r.end-at {
		return 0, fmt.Errorf("buffer of %d bytes leaves its memory after %d: %w", len(b), r.end-at, ErrNotMapped)
	}
	return r.iova + uint64(at-r.start), nil
}

// mapData points a command at a buffer: one or two PRP entries, an SGL descriptor where the controller takes those and one
// is enough, a PRP list otherwise (base 2.0, sections 4.1.1 and 4.1.2). Pages are those of the controller, so they count in
// its addresses and not in ours.
func (q *Queue) mapData(t *tracker, b []byte) error {
	at, n := address(b), uint64(len(b))
	r, err := q.lookup(at)
	if err != nil {
		return err
	}
	if n > uint64(r.end-at) {
		return q.mapScattered(t, b)
	}
	page := q.c.page
	iova := r.iova + uint64(at-r.start)
	first := page - iova&(page-1)
	c := &t.cmd
	c.PRP1 = iova
	switch {
	case n <= first:
		return nil
	case n <= first+page:
		c.PRP2 = iova + first
		return nil
	case q.c.sgl && q.id != 0:
		c.SetSGL(spec.SGL{Address: iova, Length: uint32(n), Type: spec.SGLTypeData})
		return nil
	}
	if t.list = q.lists.take(); t.list < 0 {
		return errNoList
	}
	c.PRP2 = q.lists.iova(t.list)
	return fillList(q.lists.bytes(t.list), iova+first, n-first, page)
}

// fillList writes the addresses of consecutive pages.
func fillList(list []byte, iova, n, page uint64) error {
	if (n+page-1)/page*8 > uint64(len(list)) {
		return fmt.Errorf("%d bytes need more than %d PRP entries: %w", n, len(list)/8, ErrInvalid)
	}
	for i := 0; n > 0; i += 8 {
		putEntry(list[i:], iova)
		iova += page
		n -= min(n, page)
	}
	return nil
}

func putEntry(b []byte, v uint64) {
	_ = b[7]
	for i := range 8 {
		b[i] = byte(v >> (8 * i))
	}
}

// mapScattered handles a buffer in several regions that follow each other here and not there. Regions are whole pages,
// so they meet at pages.
func (q *Queue) mapScattered(t *tracker, b []byte) error {
	if t.list = q.lists.take(); t.list < 0 {
		return errNoList
	}
	list, page := q.lists.bytes(t.list), q.c.page
	at, left, used := address(b), uint64(len(b)), 0
	for n := uint64(0); left > 0; left -= n {
		r, err := q.lookup(at)
		if err != nil {
			return err
		}
		iova := r.iova + uint64(at-r.start)
		n = min(left, uint64(r.end-at), page-iova&(page-1))
		at += uintptr(n)
		switch {
		case left == uint64(len(b)):
			t.cmd.PRP1 = iova
		case used+8 > len(list):
			return fmt.Errorf("%d bytes need more than %d PRP entries: %w", len(b), len(list)/8, ErrInvalid)
		default:
			putEntry(list[used:], iova)
			used += 8
		}
	}
	t.cmd.PRP2 = q.lists.iova(t.list)
	if used == 8 { // two entries fit the command
		t.cmd.PRP2 = getEntry(list)
	}
	return nil
}

func getEntry(b []byte) (v uint64) {
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}
