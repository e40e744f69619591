package bdevtest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

const (
	sector     = 512 // the least that lands as one
	lineLength = 64
)

// pattern fills p, whole sectors, with bytes that depend on their sector on the device and on a generation, so that
// data that comes from the wrong place or time is seen. Within a sector a line repeats: the suite has many megabytes
// to fill.
func pattern(p []byte, off int64, generation uint64) {
	for ; len(p) > 0; p, off = p[sector:], off+sector {
		seed := uint64(off)*0x9E3779B97F4A7C15 ^ generation*0xC2B2AE3D27D4EB4F
		for i := 0; i < lineLength; i += 8 {
			seed ^= seed >> 29
			seed *= 0xBF58476D1CE4E5B9
			binary.LittleEndian.PutUint64(p[i:], seed|1)
		}
		for n := lineLength; n < sector; n *= 2 {
			copy(p[n:sector], p[:n])
		}
	}
}

// newPattern returns n bytes of pattern.
func newPattern(n int, off int64, generation uint64) []byte {
	p := make([]byte, n)
	pattern(p, off, generation)
	return p
}

// write stores a pattern.
func write(t *testing.T, d *bdev.Device, n int, off int64, generation uint64) {
	t.Helper()
	require.NoError(t, d.Write(newPattern(n, off, generation), off))
}

// expect reads a range and compares it.
func expect(t *testing.T, d *bdev.Device, want []byte, off int64) {
	t.Helper()
	got := bytes.Repeat([]byte{0xA5}, len(want))
	require.NoError(t, d.Read(got, off))
	requireSame(t, want, got, off)
}

// expectPattern reads a range and compares it with a pattern.
func expectPattern(t *testing.T, d *bdev.Device, n int, off int64, generation uint64) {
	t.Helper()
	expect(t, d, newPattern(n, off, generation), off)
}

// requireSame names the first difference instead of printing megabytes.
func requireSame(t *testing.T, want, got []byte, off int64) {
	t.Helper()
	if !bytes.Equal(want, got) {
		t.Fatalf("range at %d, %d bytes: first difference at byte %d", off, len(want), firstDifference(want, got))
	}
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// aligned returns memory every device takes as it is; misaligned returns memory that most have to bounce.
func aligned(n int) []byte { return dmabuf.Aligned(make([]byte, n+4096), 4096)[:n:n] }

func misaligned(n int) []byte { return dmabuf.Aligned(make([]byte, n+4096+17), 4096)[17 : n+17] }

// request takes a request from the pool and fills it.
func request(op bdev.Op, off int64, buf []byte) *bdev.Request {
	r := bdev.GetRequest()
	r.Op, r.Offset, r.Buf = op, off, buf
	return r
}
