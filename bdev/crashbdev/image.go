package crashbdev

import (
	"errors"
	"io"
	"maps"
	"os"
)

const pageSize = 4096 // bytes; what an Image keeps and shares as one piece

// Image is the content of a disk: sparse, and cheap to clone since clones share pages until one writes to them.
type Image struct {
	size  int64
	pages map[int64]*page // by byte offset / pageSize; a missing page holds zeros
	owner *owner
}

// page may be written to only through the image whose owner it carries.
type page struct {
	owner *owner
	data  [pageSize]byte
}

// owner identifies an image since its last clone. It is never empty: pointers to distinct empty values may be equal.
type owner struct{ _ byte }

// NewImage returns an image of zeros.
func NewImage(size int64) *Image {
	return &Image{size: size, pages: make(map[int64]*page), owner: new(owner)}
}

// LoadImage reads an image of the given size. Data that ends earlier is followed by zeros.
func LoadImage(r io.ReaderAt, size int64) (*Image, error) {
	m := NewImage(size)
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		m.load(buf[:n], off)
	}
	return m, nil
}

// load writes the pages of p that are not zero.
func (m *Image) load(p []byte, off int64) {
	for i := 0; i < len(p); i += pageSize {
		if piece := p[i:min(i+pageSize, len(p))]; !isZero(piece) {
			m.write(piece, off+int64(i))
		}
	}
}

// Size in bytes.
func (m *Image) Size() int64 { return m.size }

// Clone returns a copy that shares pages with m. Nobody may use m meanwhile.
func (m *Image) Clone() *Image {
	// Both get a new owner: from now on neither may write to a page that the other one sees.
	m.owner = new(owner)
	return &Image{size: m.size, pages: maps.Clone(m.pages), owner: new(owner)}
}

// ReadAt implements io.ReaderAt.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= m.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > m.size-off
	if short {
		p = p[:m.size-off]
	}
	m.read(p, off)
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// Equal reports whether both images hold the same bytes.
func (m *Image) Equal(o *Image) bool {
	if m.size != o.size {
		return false
	}
	return m.covers(o) && o.covers(m)
}

// covers reports whether every page of m is the same in o.
func (m *Image) covers(o *Image) bool {
	var zero page
	for i, p := range m.pages {
		q := o.pages[i]
		if q == nil {
			q = &zero
		}
		if p != q && p.data != q.data {
			return false
		}
	}
	return true
}

// WriteFile saves the image to a sparse file, for a look at what a failed test left.
func (m *Image) WriteFile(name string) (err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(m.size); err != nil {
		return err
	}
	for i, p := range m.pages {
		off := i * pageSize
		if _, err := f.WriteAt(p.data[:min(pageSize, m.size-off)], off); err != nil {
			return err
		}
	}
	return nil
}

// resize keeps the bytes that fit.
func (m *Image) resize(size int64) {
	if size < m.size {
		m.zero(size, m.size-size)
	}
	m.size = size
}

// read fills p. The range lies within the image, here and below.
func (m *Image) read(p []byte, off int64) {
	eachPage(off, int64(len(p)), func(i int64, from, to int, at int64) {
		if q := m.pages[i]; q != nil {
			copy(p[at:], q.data[from:to])
		} else {
			clear(p[at : at+int64(to-from)])
		}
	})
}

func (m *Image) write(p []byte, off int64) {
	eachPage(off, int64(len(p)), func(i int64, from, to int, at int64) {
		copy(m.writable(i).data[from:to], p[at:])
	})
}

func (m *Image) zero(off, n int64) {
	eachPage(off, n, func(i int64, from, to int, _ int64) {
		switch {
		case m.pages[i] == nil:
		case to-from == pageSize:
			delete(m.pages, i)
		default:
			clear(m.writable(i).data[from:to])
		}
	})
}

// writable returns a page that belongs to m alone.
func (m *Image) writable(i int64) *page {
	p := m.pages[i]
	switch {
	case p == nil:
		p = &page{owner: m.owner}
	case p.owner != m.owner:
		p = &page{owner: m.owner, data: p.data}
	default:
		return p
	}
	m.pages[i] = p
	return p
}

// eachPage splits a range at page boundaries: bytes from to to of page i are at position at of the range.
func eachPage(off, n int64, fn func(i int64, from, to int, at int64)) {
	for at := int64(0); at < n; {
		i, from := (off+at)/pageSize, (off+at)%pageSize
		to := min(pageSize, from+n-at)
		fn(i, int(from), int(to), at)
		at += to - from
	}
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
