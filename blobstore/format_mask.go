package blobstore

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Mask: which metadata pages, clusters or blob ids are used. It begins a region of its own and carries no checksum, so it
// is never trusted by itself: a load compares it with what the blobs say.
//
//	OFFSET  SIZE  FIELD
//	     0     1  type: 0 metadata pages, 1 clusters, 2 blob ids
//	     1     4  length in bits
//	     5     n  bits, lowest first, rounded up to bytes; the rest of the region is zero
const maskHeaderSize = 5

// maskKind is the type of a mask.
type maskKind byte

// The masks of a store.
const (
	maskPages    maskKind = 0
	maskClusters maskKind = 1
	maskBlobIDs  maskKind = 2
)

func (k maskKind) String() string {
	switch k {
	case maskPages:
		return "used-page mask"
	case maskClusters:
		return "used-cluster mask"
	case maskBlobIDs:
		return "used-blob-id mask"
	}
	return fmt.Sprintf("mask of type %d", byte(k))
}

// maskPagesFor is how many pages a mask of that many bits takes.
func maskPagesFor(n int) uint32 {
	return uint32(ceilDiv(maskHeaderSize+ceilDiv(n, 8), pageSize))
}

// marshalMask writes a mask into b, which is the whole region.
func marshalMask(b []byte, kind maskKind, m *bitmap) error {
	if need := maskHeaderSize + ceilDiv(m.len(), 8); need > len(b) {
		return fmt.Errorf("%v: region of %d bytes, %d needed", kind, len(b), need)
	}
	clear(b)
	b[0] = byte(kind)
	binary.LittleEndian.PutUint32(b[1:], uint32(m.len()))
	body := b[maskHeaderSize:]
	for i := range ceilDiv(m.len(), 8) {
		body[i] = byte(m.words[i/8] >> (i % 8 * 8))
	}
	return nil
}

// unmarshalMask reads a mask of the expected kind and length from its region.
func unmarshalMask(b []byte, kind maskKind, want int) (bitmap, error) {
	if len(b) < maskHeaderSize {
		return bitmap{}, fmt.Errorf("%v: region of %d bytes", kind, len(b))
	}
	if maskKind(b[0]) != kind {
		return bitmap{}, corruptf(0, kind.String()+": type", fmt.Sprint(byte(kind)), fmt.Sprint(b[0]))
	}
	if n := binary.LittleEndian.Uint32(b[1:]); uint64(n) != uint64(want) {
		return bitmap{}, corruptf(1, kind.String()+": length in bits", fmt.Sprint(want), fmt.Sprint(n))
	}
	body := b[maskHeaderSize:]
	if len(body) < ceilDiv(want, 8) {
		return bitmap{}, corruptf(1, kind.String()+": region", fmt.Sprintf("%d bits", want), fmt.Sprintf("%d bytes", len(b)))
	}
	if i := firstNonZero(body[want/8:], want%8); i >= 0 {
		off := maskHeaderSize + want/8 + i
		return bitmap{}, corruptf(off, kind.String()+": after the last bit", "zeros", fmt.Sprintf("%#02x", b[off]))
	}
	return bitsOf(body, want), nil
}

// firstNonZero is the index of the first byte of b that is not zero, or -1; the lowest skip bits of b[0] do not count.
func firstNonZero(b []byte, skip int) int {
	for i, v := range b {
		if i == 0 {
			v = v >> skip << skip
		}
		if v != 0 {
			return i
		}
	}
	return -1
}

// bitsOf reads n bits, lowest first.
func bitsOf(b []byte, n int) bitmap {
	m := newBitmap(n)
	for i, v := range b[:ceilDiv(n, 8)] {
		for ; v != 0; v &= v - 1 {
			m.set(i*8 + bits.TrailingZeros8(v))
		}
	}
	return m
}
