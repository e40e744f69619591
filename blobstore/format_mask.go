package blobstore

import (
	"encoding/binary"
	"fmt"
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
func maskPagesFor(bits int) uint32 {
	return uint32(ceilDiv(maskHeaderSize+ceilDiv(bits, 8), pageSize))
}

// marshalMask writes a mask into b, which is the whole region.
func marshalMask(b []byte, kind maskKind, bits *bitmap) error {
	if need := maskHeaderSize + ceilDiv(bits.len(), 8); need > len(b) {
		return fmt.Errorf("%v: region of %d bytes, %d needed", kind, len(b), need)
	}
	clear(b)
	b[0] = byte(kind)
	binary.LittleEndian.PutUint32(b[1:], uint32(bits.len()))
	body := b[maskHeaderSize:]
	for i := range ceilDiv(bits.len(), 8) {
		body[i] = byte(bits.words[i/8] >> (i % 8 * 8))
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
	return bitsOf(body, want), nil
}

// bitsOf reads n bits; those beyond n in the last byte are ignored.
func bitsOf(b []byte, n int) bitmap {
	m := newBitmap(n)
	for i, v := range b[:ceilDiv(n, 8)] {
		for ; v != 0; v &= v - 1 {
			m.set(i*8 + lowestBit(v))
		}
	}
	return m
}

func lowestBit(v byte) int {
	i := 0
	for v&1 == 0 {
		v >>= 1
		i++
	}
	return i
}
