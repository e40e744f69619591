package softctrl

import (
	"encoding/binary"

	"github.com/blobkv/blobkv/nvme/spec"
)

const pageSize = 4096

// scratch is what a queue needs to find the memory of a command; used again for the next one.
type scratch struct {
	parts  [][]byte
	buf    []byte
	expect []byte
}

// locate finds the n bytes of host memory that a command's data pointer names, in pieces.
func (c *Controller) locate(s *scratch, cmd *spec.Command, n int, write bool) ([][]byte, spec.Status) {
	s.parts = s.parts[:0]
	var status spec.Status
	switch cmd.Flags & spec.PSDTMask {
	case 0:
		status = c.walkPRP(s, cmd.PRP1, cmd.PRP2, n, write)
	case spec.PSDTSGL:
		if !c.cfg.SGL {
			return nil, spec.StatusInvalidField
		}
		status = c.walkSGL(s, cmd.SGL(), n, write)
	default:
		return nil, spec.StatusInvalidField
	}
	return s.parts, status
}

// part adds memory; in pages where it is not in one piece.
func (c *Controller) part(s *scratch, iova uint64, n int, write bool) spec.Status {
	if b := c.mem.Translate(iova, n, write); b != nil {
		s.parts = append(s.parts, b)
		return spec.StatusSuccess
	}
	for n > 0 {
		k := min(n, pageSize-int(iova&(pageSize-1)))
		b := c.mem.Translate(iova, k, write)
		if b == nil {
			return spec.StatusDataTransferError
		}
		s.parts = append(s.parts, b)
		iova, n = iova+uint64(k), n-k
	}
	return spec.StatusSuccess
}

// run is host memory that PRP entries make up, as far as they follow each other.
type run struct {
	iova  uint64
	n     int
	write bool
}

// extend adds the memory of one more entry: to the run, or to a new one after the run became a part.
func (c *Controller) extend(s *scratch, r *run, entry uint64, n int) spec.Status {
	if entry&(pageSize-1) != 0 {
		return spec.StatusPRPOffset
	}
	if entry == r.iova+uint64(r.n) {
		r.n += n
		return spec.StatusSuccess
	}
	st := c.part(s, r.iova, r.n, r.write)
	r.iova, r.n = entry, n
	return st
}

// walkPRP follows PRP entries (base 2.0, section 4.1.1).
func (c *Controller) walkPRP(s *scratch, prp1, prp2 uint64, n int, write bool) spec.Status {
	if prp1&3 != 0 {
		return spec.StatusPRPOffset
	}
	r := run{prp1, min(n, pageSize-int(prp1&(pageSize-1))), write}
	st := spec.StatusSuccess
	switch n -= r.n; {
	case n > pageSize:
		st = c.walkList(s, &r, prp2, n)
	case n > 0:
		st = c.extend(s, &r, prp2, n)
	}
	if !st.OK() {
		return st
	}
	return c.part(s, r.iova, r.n, write)
}

// walkList follows a PRP list. The last entry of a page of entries points to the next one when there is more.
func (c *Controller) walkList(s *scratch, r *run, list uint64, n int) spec.Status {
	if list&7 != 0 {
		return spec.StatusPRPOffset
	}
	for n > 0 {
		room := (pageSize - int(list&(pageSize-1))) / 8
		need := (n + pageSize - 1) / pageSize
		b := c.mem.Translate(list, min(room, need)*8, false)
		if b == nil {
			return spec.StatusDataTransferError
		}
		chained := need > room
		for len(b) > 0 && n > 0 {
			entry := binary.LittleEndian.Uint64(b)
			if b = b[8:]; len(b) == 0 && chained {
				if entry&(pageSize-1) != 0 {
					return spec.StatusPRPOffset
				}
				list = entry
				break
			}
			k := min(n, pageSize)
			if st := c.extend(s, r, entry, k); !st.OK() {
				return st
			}
			n -= k
		}
	}
	return spec.StatusSuccess
}

// maxSegments bounds how many SGL segments are followed, which a host could make a loop.
const maxSegments = 64

// walkSGL follows SGL descriptors (base 2.0, section 4.1.2).
func (c *Controller) walkSGL(s *scratch, d spec.SGL, n int, write bool) spec.Status {
	left := n
	switch d.Type {
	case spec.SGLTypeData:
		if st := c.dataBlock(s, d, &left, write); !st.OK() {
			return st
		}
		return fits(left)
	case spec.SGLTypeSegment, spec.SGLTypeLastSegment:
	default:
		return spec.StatusSGLType
	}
	for range maxSegments {
		last := d.Type == spec.SGLTypeLastSegment
		if d.Length == 0 || d.Length%spec.SGLSize != 0 || d.Length > pageSize {
			return spec.StatusInvalidSGLSegment
		}
		b := c.mem.Translate(d.Address, int(d.Length), false)
		if b == nil {
			return spec.StatusDataTransferError
		}
		more := false
		for ; len(b) > 0 && !more; b = b[spec.SGLSize:] {
			d.Get(b)
			switch {
			case d.Type == spec.SGLTypeData:
				if st := c.dataBlock(s, d, &left, write); !st.OK() {
					return st
				}
			case (d.Type == spec.SGLTypeSegment || d.Type == spec.SGLTypeLastSegment) && len(b) == spec.SGLSize && !last:
				more = true
			default:
				return spec.StatusSGLType
			}
		}
		if !more {
			return fits(left)
		}
	}
	return spec.StatusInvalidSGLSegment
}

// fits tells whether descriptors described all of the data.
func fits(left int) spec.Status {
	if left > 0 {
		return spec.StatusDataSGLLength
	}
	return spec.StatusSuccess
}

// dataBlock adds the memory of one descriptor; what is more than the command's data is left out.
func (c *Controller) dataBlock(s *scratch, d spec.SGL, left *int, write bool) spec.Status {
	k := min(int(d.Length), *left)
	*left -= k
	if k == 0 {
		return spec.StatusSuccess
	}
	return c.part(s, d.Address, k, write)
}

// toHost copies data to where a command wants it; what does not fit is left out.
func (c *Controller) toHost(sq *subQueue, cmd *spec.Command, data []byte, n int) spec.Status {
	n = min(n, len(data))
	parts, st := c.locate(&sq.scratch, cmd, n, true)
	if st.OK() {
		scatter(parts, data)
	}
	return st
}

// scatter copies data to the pieces of memory that it belongs in.
func scatter(parts [][]byte, data []byte) {
	for _, p := range parts {
		data = data[copy(p, data):]
	}
}

// join appends pieces of memory to b.
func join(b []byte, parts [][]byte) []byte {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// gather copies pieces of memory into one, which is the queue's.
func (s *scratch) gather(parts [][]byte) []byte {
	s.buf = join(s.buf[:0], parts)
	return s.buf
}

// fromHost copies n bytes of a command's data.
func (c *Controller) fromHost(sq *subQueue, cmd *spec.Command, n int) ([]byte, spec.Status) {
	parts, st := c.locate(&sq.scratch, cmd, n, false)
	if !st.OK() {
		return nil, st
	}
	return join(make([]byte, 0, n), parts), spec.StatusSuccess
}
