package blobstore

import "iter"

// blobTable holds something for each blob: an array by root page, in pieces that are made when they are first needed. It is
// in order by nature, and half the size of a map. The zero value is empty.
type blobTable[T any] struct {
	pieces []*[tablePiece]*T
	n      int
}

// tablePiece is how many blobs a piece holds.
const tablePiece = 512

// get is what was put for a blob, nil if nothing was.
func (t *blobTable[T]) get(id BlobID) *T {
	i := int(id.page())
	if !id.valid() || i/tablePiece >= len(t.pieces) || t.pieces[i/tablePiece] == nil {
		return nil
	}
	return t.pieces[i/tablePiece][i%tablePiece]
}

// put sets what get returns for a valid id; v is not nil.
func (t *blobTable[T]) put(id BlobID, v *T) {
	i := int(id.page())
	for i/tablePiece >= len(t.pieces) {
		t.pieces = append(t.pieces, nil)
	}
	p := t.pieces[i/tablePiece]
	if p == nil {
		p = new([tablePiece]*T)
		t.pieces[i/tablePiece] = p
	}
	if p[i%tablePiece] == nil {
		t.n++
	}
	p[i%tablePiece] = v
}

// remove undoes put.
func (t *blobTable[T]) remove(id BlobID) {
	if t.get(id) != nil {
		i := int(id.page())
		t.pieces[i/tablePiece][i%tablePiece] = nil
		t.n--
	}
}

// len is for how many blobs there is something.
func (t *blobTable[T]) len() int { return t.n }

// all yields everything, ascending. What is removed or put meanwhile may or may not be seen.
func (t *blobTable[T]) all() iter.Seq2[BlobID, *T] {
	return func(yield func(BlobID, *T) bool) {
		for k, p := range t.pieces {
			if p == nil {
				continue
			}
			for i, v := range p {
				if v != nil && !yield(blobIDOf(pageIndex(k*tablePiece+i)), v) {
					return
				}
			}
		}
	}
}
