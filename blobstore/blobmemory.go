package blobstore

import "strings"

// blobMemory makes the states of many blobs out of few allocations: what opening a store with a hundred thousand of them
// takes is mostly what allocating costs. A piece of memory lives as long as any blob that has a part of it, so states that
// are replaced later never come to more than what the store took when it was opened. Not for concurrent use.
type blobMemory struct {
	states  slab[blobState]
	xattrs  slab[xattr]
	extents slab[extent]
	pages   slab[pageIndex]
	bytes   slab[byte]
	text    strings.Builder
	known   map[string]string // short strings, which many blobs share

	scratch blobState // whose lists are reused while a blob is decoded
}

const (
	slabLength  = 64      // elements of a slab
	slabBytes   = 4 << 10 // of one for values or names
	knownLength = 16      // bytes of the longest string that is shared
	knownMost   = 64
)

func newBlobMemory() *blobMemory {
	return &blobMemory{bytes: slab[byte]{length: slabBytes}, known: make(map[string]string)}
}

// keep copies a state and its lists; strings and values come from string and value already.
func (m *blobMemory) keep(s *blobState) *blobState {
	k := m.states.new()
	*k = *s
	k.xattrs = m.xattrs.keep(s.xattrs)
	k.internal = m.xattrs.keep(s.internal)
	k.extents = m.extents.keep(s.extents)
	k.pages = m.pages.keep(s.pages)
	k.extentPages = m.pages.keep(s.extentPages)
	return k
}

// value copies an attribute's value.
func (m *blobMemory) value(b []byte) []byte {
	if len(b) == 0 {
		return []byte{}
	}
	return m.bytes.keep(b)
}

// string copies an attribute's name.
func (m *blobMemory) string(b []byte) string {
	if len(b) <= knownLength {
		if s, ok := m.known[string(b)]; ok {
			return s
		}
		if len(m.known) < knownMost {
			s := string(b)
			m.known[s] = s
			return s
		}
	}
	if m.text.Cap()-m.text.Len() < len(b) {
		m.text = strings.Builder{}
		m.text.Grow(max(slabBytes, len(b)))
	}
	start := m.text.Len()
	m.text.Write(b)
	return m.text.String()[start:]
}

// slab hands out parts of larger pieces of memory.
type slab[T any] struct {
	free   []T
	length int // of a piece, if more than slabLength
}

// take returns n zeroed elements, which cannot grow in place.
func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		s.free = make([]T, max(n, s.length, slabLength))
	}
	part := s.free[:n:n]
	s.free = s.free[n:]
	return part
}

// new returns one zeroed element.
func (s *slab[T]) new() *T { return &s.take(1)[0] }

// keep returns a copy of a list, nil of an empty one.
func (s *slab[T]) keep(list []T) []T {
	if len(list) == 0 {
		return nil
	}
	k := s.take(len(list))
	copy(k, list)
	return k
}
