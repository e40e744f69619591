package wire

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newRand(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestHeader(t *testing.T) {
	h := Header{ID: 0x1234, Command: CmdRegionRead, Size: 48, Flags: FlagReply | FlagError, Errno: 22}
	var b [HeaderSize]byte
	h.Put(b[:])
	require.Equal(t, [HeaderSize]byte{0x34, 0x12, 9, 0, 48, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0}, b)
	got, err := ParseHeader(b[:])
	require.NoError(t, err)
	require.Equal(t, h, got)
	require.True(t, got.IsReply())

	for name, h := range map[string]Header{
		"smaller than itself": {Size: HeaderSize - 1},
		"too large":           {Size: MaxMessage + 1},
		"of unknown type":     {Size: HeaderSize, Flags: 2},
	} {
		h.Put(b[:])
		_, err := ParseHeader(b[:])
		require.ErrorIs(t, err, ErrFormat, name)
	}
	(&Header{Size: HeaderSize, Errno: 5}).Put(b[:])
	got, err = ParseHeader(b[:])
	require.NoError(t, err)
	require.Zero(t, got.Errno, "a command's error is reserved")
}

func TestVersion(t *testing.T) {
	v := Version{Major: Major, Minor: Minor, Capabilities: Capabilities{MaxFDs: 8, MaxTransfer: 4096, MaxMaps: 7, PageSizes: 4096 | 2<<20}}
	got, err := ParseVersion(v.Append(nil))
	require.NoError(t, err)
	require.Equal(t, v, got)

	defaults := Version{Capabilities: Capabilities{MaxFDs: 1, MaxTransfer: 1 << 20, MaxMaps: 65535, PageSizes: 4096}}
	for _, text := range []string{"", "{}\x00", `{"capabilities":{"new":[1,2]},"x":1}` + "\x00", `{"capabilities":{"twin_socket":{"supported":true}}}` + "\x00"} {
		got, err := ParseVersion(append([]byte{0, 0, 0, 0}, text...))
		require.NoError(t, err, text)
		require.Equal(t, defaults, got, text)
	}
	for _, text := range []string{"{}", "\x00", "[]\x00", `{"capabilities":3}` + "\x00", `{"capabilities":{"max_msg_fds":-1}}` + "\x00",
		`{"capabilities":{"max_msg_fds":"8"}}` + "\x00", `{"capabilities":{"max_data_xfer_size":0}}` + "\x00", `{"capabilities":{"max_dma_maps":1e99}}` + "\x00"} {
		_, err := ParseVersion(append([]byte{0, 0, 0, 0}, text...))
		require.ErrorIs(t, err, ErrFormat, text)
	}
	_, err = ParseVersion(append(make([]byte, 4+maxVersionData), 0))
	require.ErrorIs(t, err, ErrFormat)
}

func TestRegionInfo(t *testing.T) {
	r := RegionInfo{Flags: RegionRead | RegionWrite | RegionMmap | RegionCaps, Index: 0, Size: 8192, Offset: 4096, Areas: []Area{{4096, 4096}, {0, 1}}}
	b := r.Append(nil, RegionInfoRoom)
	got, err := ParseRegionInfo(b)
	require.NoError(t, err)
	require.Equal(t, r, got)

	short := r.Append(nil, regionInfoSize)
	require.Len(t, short, regionInfoSize)
	require.EqualValues(t, len(b), binary.LittleEndian.Uint32(short), "says what room the full reply needs")
	got, err = ParseRegionInfo(short)
	require.NoError(t, err)
	require.Empty(t, got.Areas)

	for name, damage := range map[string]func(b []byte){
		"capability before its place": func(b []byte) { binary.LittleEndian.PutUint32(b[12:], 8) },
		"capability beyond the end":   func(b []byte) { binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-4)) },
		"capability list in a circle": func(b []byte) { binary.LittleEndian.PutUint32(b[regionInfoSize+4:], regionInfoSize) },
		"too many areas":              func(b []byte) { binary.LittleEndian.PutUint32(b[regionInfoSize+8:], 3) },
		"area outside of the region":  func(b []byte) { binary.LittleEndian.PutUint64(b[regionInfoSize+sparseFixed:], 4097) },
		"area that wraps around":      func(b []byte) { binary.LittleEndian.PutUint64(b[regionInfoSize+sparseFixed:], math.MaxUint64) },
		"region that wraps around":    func(b []byte) { binary.LittleEndian.PutUint64(b[16:], math.MaxUint64) },
	} {
		bad := append([]byte(nil), b...)
		damage(bad)
		_, err := ParseRegionInfo(bad)
		require.ErrorIs(t, err, ErrFormat, name)
	}
}

func TestDMA(t *testing.T) {
	m := DMAMap{Flags: DMAReadable | DMAWriteable, Offset: 8192, Address: 1 << 40, Size: 4096}
	got, err := ParseDMAMap(m.Append(nil))
	require.NoError(t, err)
	require.Equal(t, m, got)
	for name, m := range map[string]DMAMap{
		"empty":                     {},
		"wraps around":              {Address: math.MaxUint64 - 1, Size: 4096},
		"file offset wraps around":  {Offset: math.MaxUint64 - 1, Size: 4096},
		"larger than memory can be": {Size: math.MaxUint64},
		"unknown flags":             {Flags: 1 << 9, Size: 4096},
	} {
		_, err := ParseDMAMap(m.Append(nil))
		require.ErrorIs(t, err, ErrFormat, name)
	}

	u := DMAUnmap{Address: 4096, Size: 4096}
	gotU, err := ParseDMAUnmap(u.Append(nil))
	require.NoError(t, err)
	require.Equal(t, u, gotU)
	_, err = ParseDMAUnmap((&DMAUnmap{Flags: UnmapAll, Size: 1}).Append(nil))
	require.ErrorIs(t, err, ErrFormat)

	a := DMAAccess{Address: 77, Count: 3, Data: []byte("abc")}
	gotA, err := ParseDMAAccess(a.Append(nil), true)
	require.NoError(t, err)
	require.Equal(t, a, gotA)
	_, err = ParseDMAAccess(a.Append(nil), false)
	require.ErrorIs(t, err, ErrFormat, "data where none belongs")
	gotA, err = ParseDMAAccess((&DMAAccess{Address: 77, Count: 3}).Append(nil)[:12], false)
	require.NoError(t, err, "a reply with the short count of the specification")
	require.EqualValues(t, 3, gotA.Count)
}

func TestIRQSet(t *testing.T) {
	s := IRQSet{Flags: IRQDataBool | IRQTrigger, Index: IRQMSIX, Start: 1, Count: 3, Bools: []byte{1, 0, 1}}
	got, err := ParseIRQSet(s.Append(nil))
	require.NoError(t, err)
	require.Equal(t, s, got)
	for name, s := range map[string]IRQSet{
		"no action":        {Flags: IRQDataNone, Count: 1},
		"two actions":      {Flags: IRQDataNone | IRQMask | IRQTrigger, Count: 1},
		"two kinds":        {Flags: IRQDataNone | IRQDataBool | IRQTrigger, Count: 1},
		"too many":         {Flags: IRQDataNone | IRQTrigger, Count: maxVectors + 1},
		"none, masked":     {Flags: IRQDataNone | IRQMask},
		"missing booleans": {Flags: IRQDataBool | IRQTrigger, Count: 2, Bools: []byte{1}},
	} {
		_, err := ParseIRQSet(s.Append(nil))
		require.ErrorIs(t, err, ErrFormat, name)
	}
}

// TestTruncated cuts every payload at every length: an error or less, never a panic.
func TestTruncated(t *testing.T) {
	rng := newRand(t)
	full := (&RegionInfo{Flags: RegionMmap, Size: 1 << 20, Areas: make([]Area, 4)}).Append(nil, RegionInfoRoom)
	for n := range full {
		parseAll(full[:n])
	}
	for range 5000 {
		b := append([]byte(nil), full...)
		for range 1 + rng.IntN(4) {
			b[rng.IntN(len(b))] = byte(rng.Uint32())
		}
		parseAll(b)
	}
}

// parseAll runs every decoder and, where it accepts the bytes, its encoder: what was understood survives.
func parseAll(b []byte) {
	_, _ = ParseHeader(b)
	if v, err := ParseVersion(b); err == nil {
		must(ParseVersion(v.Append(nil)))
	}
	if m, err := ParseDMAMap(b); err == nil {
		same(m, must(ParseDMAMap(m.Append(nil))))
	}
	if u, err := ParseDMAUnmap(b); err == nil {
		same(u, must(ParseDMAUnmap(u.Append(nil))))
	}
	if d, err := ParseDeviceInfo(b); err == nil {
		same(d, must(ParseDeviceInfo(d.Append(nil))))
	}
	if i, err := ParseIRQInfo(b); err == nil {
		same(i, must(ParseIRQInfo(i.Append(nil))))
	}
	if s, err := ParseIRQSet(b); err == nil {
		must(ParseIRQSet(s.Append(nil)))
	}
	if r, err := ParseRegionInfo(b); err == nil {
		got := must(ParseRegionInfo(r.Append(nil, RegionInfoRoom)))
		same(len(r.Areas), len(got.Areas))
	}
	for _, withData := range []bool{false, true} {
		if a, err := ParseDMAAccess(b, withData); err == nil {
			must(ParseDMAAccess(a.Append(nil), withData))
		}
		if a, err := ParseRegionAccess(b, withData); err == nil {
			must(ParseRegionAccess(a.Append(nil), withData))
		}
	}
	_, _, _ = ParseRegionInfoRequest(b)
	_, _ = ParseIOFDsRequest(b)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func same[T comparable](a, b T) {
	if a != b {
		panic("changed by encoding and decoding")
	}
}

func FuzzParse(f *testing.F) {
	f.Add((&RegionInfo{Flags: RegionMmap, Size: 1 << 20, Areas: []Area{{4096, 4096}}}).Append(nil, RegionInfoRoom))
	f.Add((&Version{Minor: 1, Capabilities: Capabilities{MaxFDs: 8, MaxTransfer: 1 << 20, MaxMaps: 1, PageSizes: 4096}}).Append(nil))
	f.Add((&DMAMap{Flags: 3, Address: 4096, Size: 4096}).Append(nil))
	f.Add((&DMAUnmap{Address: 4096, Size: 4096}).Append(nil))
	f.Add((&DMAAccess{Address: 1, Count: 2, Data: []byte{1, 2}}).Append(nil))
	f.Add((&RegionAccess{Region: 7, Count: 2, Data: []byte{1, 2}}).Append(nil))
	f.Add((&IRQSet{Flags: IRQDataBool | IRQTrigger, Index: 2, Count: 2, Bools: []byte{0, 1}}).Append(nil))
	f.Add((&IRQInfo{Index: 2, Count: 3}).Append(nil))
	f.Add((&DeviceInfo{Flags: 3, Regions: 9, IRQs: 5}).Append(nil))
	f.Add(AppendRegionInfoRequest(nil, 3))
	f.Add(AppendNoIOFDs(nil, 3))
	f.Fuzz(func(_ *testing.T, b []byte) { parseAll(b) })
}
