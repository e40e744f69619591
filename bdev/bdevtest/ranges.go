package bdevtest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

var rangeCases = []testCase{
	{"BeyondEnd", testBeyondEnd},
	{"Unaligned", testUnaligned},
	{"ZeroLength", testZeroLength},
	{"ErrorNamesRequest", testErrorText},
	{"UnknownOperation", testUnknownOp},
	{"Resize", testResize},
}

func testBeyondEnd(t *testing.T, d *bdev.Device) {
	bs, size := int64(d.BlockSize()), d.Size()
	write(t, d, int(bs), size-bs, 1)
	for _, r := range [][2]int64{{size, bs}, {size - bs, 2 * bs}, {size + bs, bs}, {-bs, bs}, {math.MaxInt64 &^ (bs - 1), bs}, {math.MinInt64, bs}} {
		p := make([]byte, r[1])
		require.ErrorIs(t, d.Read(p, r[0]), bdev.ErrOutOfRange, "read %v", r)
		require.ErrorIs(t, d.Write(p, r[0]), bdev.ErrOutOfRange, "write %v", r)
		require.ErrorIs(t, d.Unmap(r[0], r[1]), bdev.ErrOutOfRange, "unmap %v", r)
		require.ErrorIs(t, d.WriteZeroes(r[0], r[1]), bdev.ErrOutOfRange, "write zeroes %v", r)
		require.ErrorIs(t, d.Allocate(r[0], r[1]), bdev.ErrOutOfRange, "allocate %v", r)
	}
	require.ErrorIs(t, d.Unmap(0, -bs), bdev.ErrOutOfRange)
	require.ErrorIs(t, d.WriteZeroes(bs, math.MaxInt64&^(bs-1)), bdev.ErrOutOfRange)
	expectPattern(t, d, int(bs), size-bs, 1)
}

func testUnaligned(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	write(t, d, 2*bs, 0, 1)
	for _, r := range [][2]int{{1, bs}, {bs / 2, bs}, {0, bs - 1}, {0, 1}, {bs, bs + 1}, {-1, bs}} {
		p := make([]byte, r[1])
		require.ErrorIs(t, d.Read(p, int64(r[0])), bdev.ErrUnaligned, "read %v", r)
		require.ErrorIs(t, d.Write(p, int64(r[0])), bdev.ErrUnaligned, "write %v", r)
		require.ErrorIs(t, d.Unmap(int64(r[0]), int64(r[1])), bdev.ErrUnaligned, "unmap %v", r)
	}
	expectPattern(t, d, 2*bs, 0, 1)
}

func testZeroLength(t *testing.T, d *bdev.Device) {
	for _, off := range []int64{0, int64(d.BlockSize()), d.Size()} {
		require.NoError(t, d.Read(nil, off))
		require.NoError(t, d.Write(nil, off))
		require.NoError(t, d.Unmap(off, 0))
		require.NoError(t, d.WriteZeroes(off, 0))
	}
	require.ErrorIs(t, d.Read(nil, d.Size()+int64(d.BlockSize())), bdev.ErrOutOfRange)
}

func testErrorText(t *testing.T, d *bdev.Device) {
	err := d.Read(make([]byte, d.BlockSize()), d.Size())
	var e *bdev.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, bdev.OpRead, e.Op)
	require.Equal(t, d.Size(), e.Offset)
	require.EqualValues(t, d.BlockSize(), e.Length)
	require.ErrorContains(t, err, d.Name())
}

func testUnknownOp(t *testing.T, d *bdev.Device) {
	r := request(bdev.Op(200), 0, nil)
	defer bdev.PutRequest(r)
	require.ErrorIs(t, d.Do(r), bdev.ErrInvalid)
	d.Submit(r)
	require.ErrorIs(t, d.Wait(r), bdev.ErrInvalid)
	idle := bdev.GetRequest()
	defer bdev.PutRequest(idle)
	require.ErrorIs(t, d.Wait(idle), bdev.ErrInvalid, "waiting for what was never submitted")
}

func testResize(t *testing.T, d *bdev.Device) {
	bs, old := int64(d.BlockSize()), d.Size()
	require.ErrorIs(t, d.Resize(old+1), bdev.ErrUnaligned)
	require.ErrorIs(t, d.Resize(0), bdev.ErrUnaligned)
	write(t, d, int(bs), old-bs, 1)
	if err := d.Resize(old + 64*bs); err != nil {
		require.ErrorIs(t, err, bdev.ErrUnsupported)
		require.Equal(t, old, d.Size())
		return
	}
	require.Equal(t, old+64*bs, d.Size())
	require.Equal(t, d.Size()/bs, d.Properties().BlockCount)
	write(t, d, int(2*bs), old+62*bs, 2)
	expectPattern(t, d, int(2*bs), old+62*bs, 2)
	expectPattern(t, d, int(bs), old-bs, 1)
	require.ErrorIs(t, d.Write(make([]byte, bs), d.Size()), bdev.ErrOutOfRange)
}
