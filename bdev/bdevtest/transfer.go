package bdevtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

var transferCases = []testCase{
	{"Properties", testProperties},
	{"EveryLength", testEveryLength},
	{"LastBlock", testLastBlock},
	{"NeighboursUntouched", testNeighbours},
	{"LongTransfer", testLongTransfer},
	{"AcrossBoundary", testAcrossBoundary},
	{"MisalignedMemory", testMisalignedMemory},
	{"LongMisalignedMemory", testLongMisaligned},
	{"FUA", testFUA},
	{"Stats", testStats},
}

func testProperties(t *testing.T, d *bdev.Device) {
	p := d.Properties()
	require.Equal(t, d.Size(), p.BlockCount*int64(p.BlockSize))
	require.Equal(t, d.BlockSize(), p.BlockSize)
	require.NotEmpty(t, d.Name())
	require.True(t, p.Native.Has(bdev.OpRead) && p.Native.Has(bdev.OpWrite))
	require.Zero(t, p.Sync&^p.Native, "what runs through Execute is native")
	require.LessOrEqual(t, 512, p.AtomicWriteUnit)
}

func testEveryLength(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	for blocks := 1; blocks <= 40; blocks++ {
		off := int64(blocks%7) * int64(bs)
		write(t, d, blocks*bs, off, uint64(blocks))
		expectPattern(t, d, blocks*bs, off, uint64(blocks))
	}
}

func testLastBlock(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	for _, blocks := range []int{1, 2, 9} {
		off := d.Size() - int64(blocks*bs)
		write(t, d, blocks*bs, off, 1)
		expectPattern(t, d, blocks*bs, off, 1)
	}
}

func testNeighbours(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	write(t, d, 16*bs, 0, 1)
	write(t, d, 3*bs, int64(5*bs), 2)
	expectPattern(t, d, 5*bs, 0, 1)
	expectPattern(t, d, 3*bs, int64(5*bs), 2)
	expectPattern(t, d, 8*bs, int64(8*bs), 1)
}

// longLength is more than the device takes at once, where memory allows.
func longLength(d *bdev.Device) int {
	bs := d.BlockSize()
	return min(2*d.Properties().MaxTransfer, 5<<20)&^(bs-1) + 3*bs
}

func testLongTransfer(t *testing.T, d *bdev.Device) {
	n, off := longLength(d), int64(d.BlockSize())
	p := aligned(n)
	pattern(p, off, 3)
	require.NoError(t, d.Write(p, off))
	got := aligned(n)
	require.NoError(t, d.Read(got, off))
	requireSame(t, p, got, off)
}

func testAcrossBoundary(t *testing.T, d *bdev.Device) {
	boundary := int64(d.Properties().OptimalBoundary)
	if boundary == 0 || boundary > MinSize/4 {
		boundary = 64 << 10
	}
	bs := int64(d.BlockSize())
	for _, n := range []int64{2 * bs, boundary, boundary + 2*bs} {
		write(t, d, int(n), boundary-bs, uint64(n))
		expectPattern(t, d, int(n), boundary-bs, uint64(n))
	}
}

func testMisalignedMemory(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	for _, blocks := range []int{1, 3, 32} {
		w := misaligned(blocks * bs)
		pattern(w, 0, uint64(blocks))
		require.NoError(t, d.Write(w, 0))
		expectPattern(t, d, blocks*bs, 0, uint64(blocks))
		r := misaligned(blocks * bs)
		require.NoError(t, d.Read(r, 0))
		requireSame(t, w, r, 0)
	}
}

func testLongMisaligned(t *testing.T, d *bdev.Device) {
	n := longLength(d)
	w := misaligned(n)
	pattern(w, 0, 9)
	require.NoError(t, d.Write(w, 0))
	r := misaligned(n)
	require.NoError(t, d.Read(r, 0))
	requireSame(t, w, r, 0)
	expectPattern(t, d, n, 0, 9)
}

func testFUA(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	r := request(bdev.OpWrite, int64(bs), newPattern(2*bs, int64(bs), 4))
	defer bdev.PutRequest(r)
	r.FUA = true
	require.NoError(t, d.Do(r))
	expectPattern(t, d, 2*bs, int64(bs), 4)
	pattern(r.Buf, int64(bs), 5)
	d.Submit(r)
	require.NoError(t, d.Wait(r))
	expectPattern(t, d, 2*bs, int64(bs), 5)
}

func testStats(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	before := d.Stats()
	for range 5 {
		write(t, d, 2*bs, 0, 1)
	}
	require.Error(t, d.Write(make([]byte, bs), d.Size()))
	require.NoError(t, d.Flush())
	after := d.Stats()
	delta := after.Since(before)
	w := delta.Of(bdev.OpWrite)
	require.EqualValues(t, 6, w.Latency.Count)
	require.EqualValues(t, 10*bs, w.Bytes)
	require.EqualValues(t, 1, w.Errors)
	require.EqualValues(t, 1, delta.Of(bdev.OpFlush).Latency.Count)
	require.Zero(t, delta.Of(bdev.OpRead).Latency.Count)
}
