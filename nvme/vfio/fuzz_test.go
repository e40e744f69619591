package vfio

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzRegionInfo(f *testing.F) {
	k := &fakeKernel{bar: make([]byte, 16<<10), sparse: []area{{0, 0x1000}, {0x3000, 0x1000}}}
	for _, n := range []int{32, 1 << 10, 4 << 10} {
		b := make([]byte, n)
		k.regionInfo(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRegionInfo(b)
		if err != nil {
			require.ErrorIs(t, err, ErrBadReply)
			return
		}
		for _, a := range r.sparse {
			require.LessOrEqual(t, a.end(), r.size)
			require.NotZero(t, a.size)
		}
	})
}

func FuzzIOMMUInfo(f *testing.F) {
	k := &fakeKernel{ranges: []iovaRange{{0, 0xfedfffff}, {0xfef00000, 1<<39 - 1}}}
	b := make([]byte, 256)
	k.iommuInfo(b)
	f.Add(b)
	f.Add(words(20, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, ranges, err := decodeIOMMUInfo(b)
		if err != nil {
			require.ErrorIs(t, err, ErrBadReply)
			return
		}
		for i, r := range ranges {
			require.LessOrEqual(t, r.start, r.last)
			require.True(t, i == 0 || ranges[i-1].last < r.start)
		}
		if at, err := newAddresses(ranges).take(4096, 4096); err == nil {
			require.GreaterOrEqual(t, at, uint64(lowestIOVA))
		}
	})
}

func FuzzMSIX(f *testing.F) {
	b := make([]byte, 256)
	b[pciStatus], b[pciCapabilities], b[0x41], b[0x50], b[0x52] = statusHasCaps, 0x40, 0x50, capabilityMSIX, 64
	f.Add(b)
	f.Add(bytes.Repeat([]byte{0x40}, 256)) // a chain that ends in itself
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := findMSIX(b)
		if err != nil {
			require.ErrorIs(t, err, ErrBadReply)
		}
		for bar := range 8 {
			for _, a := range m.inBAR(bar) {
				require.LessOrEqual(t, a.size, uint64(2048*16))
			}
		}
	})
}

func FuzzMounts(f *testing.F) {
	f.Add("22 1 259:12 / /my\\040data rw - ext4 /dev/root rw\n\n - - -\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range parseMounts(bytes.NewBufferString(s)) {
			require.NotEmpty(t, m.number)
			require.NotEmpty(t, m.source)
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add("0000:01:00.0")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			require.ErrorIs(t, err, ErrNotFound)
			return
		}
		again, err := ParseAddress(a.String())
		require.NoError(t, err)
		require.Equal(t, a, again)
	})
}
