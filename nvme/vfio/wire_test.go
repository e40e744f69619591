package vfio

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBadReplies: sizes and offsets of the kernel that contradict each other are an error, and nothing is read beyond them.
func TestBadReplies(t *testing.T) {
	region := func(size, offset uint64, capability uint32, body ...byte) []byte {
		b := words(0, regionHasCaps, 0, capability)
		b = native.AppendUint64(native.AppendUint64(b, size), offset)
		b = append(b, body...)
		native.PutUint32(b, uint32(len(b)))
		return b
	}
	sparse := func(next, n uint32, areas ...uint64) []byte {
		b := words(capSparseMmap|1<<16, next, n, 0)
		for _, v := range areas {
			b = native.AppendUint64(b, v)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"no structure":            make([]byte, regionInfoBytes-1),
		"endless region":          region(1<<47, 0, 0),
		"region beyond any file":  region(4096, 1<<63, 0),
		"capability in the front": region(4096, 0, 8),
		"capability at the end":   region(4096, 0, regionInfoBytes, 1, 0, 0, 0),
		"circle":                  region(4096, 0, regionInfoBytes, words(9, regionInfoBytes)...),
		"half a list":             region(4096, 0, regionInfoBytes, words(capSparseMmap, 0, 1)...),
		"missing areas":           region(4096, 0, regionInfoBytes, sparse(0, 2, 0, 4096)...),
		"many areas":              region(4096, 0, regionInfoBytes, sparse(0, 1<<31, 0, 4096)...),
		"area behind":             region(4096, 0, regionInfoBytes, sparse(0, 1, 8192, 0)...),
		"area over the end":       region(4096, 0, regionInfoBytes, sparse(0, 1, 2048, 4096)...),
		"area around the world":   region(4096, 0, regionInfoBytes, sparse(0, 1, 4096, 1<<64-1)...),
	} {
		_, err := decodeRegionInfo(b)
		require.ErrorIs(t, err, ErrBadReply, name)
	}
	ranges := func(bounds ...uint64) (b []byte) {
		for _, v := range bounds {
			b = native.AppendUint64(b, v)
		}
		return b
	}
	for name, c := range map[string]struct {
		b []byte
		n uint32
	}{
		"missing ranges": {ranges(0, 4095), 2},
		"many ranges":    {make([]byte, 16*(maxIOVARanges+1)), maxIOVARanges + 1},
		"backwards":      {ranges(4096, 4095), 1},
		"overlapping":    {ranges(0, 4096, 4096, 8191), 2},
		"not ascending":  {ranges(4096, 8191, 0, 4095), 2},
	} {
		_, err := decodeIOVARanges(c.b, c.n)
		require.ErrorIs(t, err, ErrBadReply, name)
	}
}

// TestRepliesAtTheirLimits: what just fits, and what is not there though it could be.
func TestRepliesAtTheirLimits(t *testing.T) {
	region := func(flags, argsz, first uint32, body ...byte) []byte {
		b := native.AppendUint64(native.AppendUint64(words(argsz, flags, 0, first), 8192), 0)
		return append(b, body...)
	}
	sparse := func(areas ...uint64) []byte {
		b := words(capSparseMmap, 0, uint32(len(areas)/2), 0)
		for _, v := range areas {
			b = native.AppendUint64(b, v)
		}
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want []area
	}{
		"no capabilities":       {region(regionMmap, 32, 8), nil},
		"more than was read":    {region(regionHasCaps, 4096, 1000), nil},
		"no area":               {region(regionHasCaps, 48, 32, sparse()...), []area{}},
		"up to the end":         {region(regionHasCaps, 80, 32, sparse(0, 0, 4096, 4096)...), []area{{4096, 4096}}},
		"as many as there are":  {region(regionHasCaps, 48+16*maxSparseAreas, 32, sparse(make([]uint64, 2*maxSparseAreas)...)...), []area{}},
		"a header and no more":  {region(regionHasCaps, 40, 32, words(9, 0)...), nil},
		"an unknown one before": {region(regionHasCaps, 72, 32, append(words(9, 40), sparse(0, 4096)...)...), []area{{0, 4096}}},
	} {
		r, err := decodeRegionInfo(c.b)
		require.NoError(t, err, name)
		require.Equal(t, c.want, r.sparse, name)
	}
	pairs := make([]byte, 0, 16*maxIOVARanges)
	var want []iovaRange
	for i := range uint64(maxIOVARanges) { // one address each, without a gap
		pairs = native.AppendUint64(native.AppendUint64(pairs, i), i)
		want = append(want, iovaRange{i, i})
	}
	got, err := decodeIOVARanges(pairs, maxIOVARanges)
	require.NoError(t, err)
	require.Equal(t, want, got)
	for _, b := range [][]byte{words(20, 0, 0, 0, 8), words(4096, iommuHasCaps, 0, 0, 1000), words(28, iommuHasCaps, 0, 0, 20, 9, 0)} {
		argsz, ranges, err := decodeIOMMUInfo(b)
		require.NoError(t, err)
		require.Empty(t, ranges)
		require.Equal(t, native.Uint32(b), argsz)
	}
	for _, b := range [][]byte{make([]byte, iommuInfoBytes-1), words(28, iommuHasCaps, 0, 0, 20, capIOVARanges, 0),
		words(36, iommuHasCaps, 0, 0, 20, capIOVARanges, 0, 1, 0)} {
		_, _, err := decodeIOMMUInfo(b)
		require.ErrorIs(t, err, ErrBadReply)
	}
	_, ranges, err := decodeIOMMUInfo(words(36, iommuHasCaps, 0, 0, 20, capIOVARanges, 0, 0, 0))
	require.NoError(t, err, "a list of none")
	require.Empty(t, ranges)
}

// TestBadCapabilities of the configuration space, which a device that goes away shows as ones.
func TestBadCapabilities(t *testing.T) {
	config := func(first byte) []byte {
		b := make([]byte, pciConfigBytes)
		b[pciStatus], b[pciCapabilities] = statusHasCaps, first
		return b
	}
	circle := config(0x40)
	circle[0x41] = 0x40
	late := config(0xf8)
	late[0xf8] = capabilityMSIX
	for name, b := range map[string][]byte{"short": circle[:64], "circle": circle, "over the end": late, "in the header": config(0x20)} {
		_, err := findMSIX(b)
		require.ErrorIs(t, err, ErrBadReply, name)
	}
	gone := config(0x20)
	gone[0], gone[1] = 0xff, 0xff
	m, err := findMSIX(gone)
	require.NoError(t, err)
	require.Zero(t, m.entries)
	last := config(0xf4)
	last[0xf4], last[0xf6] = capabilityMSIX, 2
	m, err = findMSIX(last)
	require.NoError(t, err)
	require.Equal(t, 3, m.entries, "up to the last byte")
	plain := config(0x20)
	plain[pciStatus] = 0 // no list, whatever the pointer says
	m, err = findMSIX(plain)
	require.NoError(t, err)
	require.Zero(t, m.entries)
}
