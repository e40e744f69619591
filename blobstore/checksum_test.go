package blobstore

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"
)

// checksumOf is the checksum of b.
func checksumOf(b []byte) uint64 {
	var c Checksum
	c.Add(b)
	return c.Sum()
}

// The published test vectors of XXH64 with seed 0.
func TestChecksumVectors(t *testing.T) {
	for text, want := range map[string]uint64{
		"":    0xef46db3751d8e999,
		"a":   0xd24ec4f1a98c6e5b,
		"abc": 0x44bc2cf5ad770999,
		"Nobody inspects the spammish repetition": 0xfbcea83c8a378bf1,
	} {
		require.Equal(t, want, checksumOf([]byte(text)), text)
	}
}

func TestChecksumInPieces(t *testing.T) {
	b := fill(1000, 7)
	want := checksumOf(b)
	for cut := range b {
		var c Checksum
		c.Add(b[:cut/2])
		c.Add(b[cut/2 : cut])
		_ = c.Sum()
		c.Add(b[cut:])
		require.Equal(t, want, c.Sum(), "cut at %d", cut)
	}
}

// A CRC of data that ends with its own CRC is the same whatever the data: the reason why Checksum is none.
func TestChecksumSeesThroughEmbeddedCRCs(t *testing.T) {
	sealed := func(seed uint64) []byte {
		b := fill(4092, seed)
		return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	}
	a, b := sealed(1), sealed(2)
	require.Equal(t, crc32.Checksum(a, castagnoli), crc32.Checksum(b, castagnoli))
	require.NotEqual(t, checksumOf(a), checksumOf(b))
}
