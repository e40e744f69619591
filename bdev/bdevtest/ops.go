package bdevtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

var opCases = []testCase{
	{"Flush", testFlush},
	{"Unmap", testUnmap},
	{"WriteZeroes", testWriteZeroes},
	{"Allocate", testAllocate},
	{"Compare", testCompare},
	{"CompareAndWrite", testCompareAndWrite},
	{"CompareAndWriteCounts", testCompareAndWriteCounts},
	{"Copy", testCopy},
	{"Abort", testAbort},
}

func testFlush(t *testing.T, d *bdev.Device) {
	require.NoError(t, d.Flush())
	write(t, d, d.BlockSize(), 0, 1)
	require.NoError(t, d.Flush())
	require.NoError(t, d.Flush())
	expectPattern(t, d, d.BlockSize(), 0, 1)
}

// testUnmap wants the range to read as old data or zeros, block by block, and everything else as it was.
func testUnmap(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	n := 1 << 20 / bs * bs
	write(t, d, n, 0, 1)
	from, to := 3*bs, n-5*bs
	require.NoError(t, d.Unmap(int64(from), int64(to-from)))
	got := make([]byte, n)
	require.NoError(t, d.Read(got, 0))
	want, zero := newPattern(n, 0, 1), make([]byte, bs)
	requireSame(t, want[:from], got[:from], 0)
	requireSame(t, want[to:], got[to:], int64(to))
	for i := from; i < to; i += bs {
		if b := got[i : i+bs]; !bytes.Equal(b, want[i:i+bs]) && !bytes.Equal(b, zero) {
			t.Fatalf("block at %d is neither old data nor zeros after unmap", i)
		}
	}
	write(t, d, n, 0, 2)
	expectPattern(t, d, n, 0, 2)
}

func testWriteZeroes(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	for _, n := range []int{bs, 5 * bs, 1 << 20, 3<<20 + bs} {
		write(t, d, n+2*bs, 0, 1)
		require.NoError(t, d.WriteZeroes(int64(bs), int64(n)))
		expectPattern(t, d, bs, 0, 1)
		expect(t, d, make([]byte, n), int64(bs))
		expectPattern(t, d, bs, int64(n+bs), 1)
	}
	r := request(bdev.OpWriteZeroes, 0, nil)
	defer bdev.PutRequest(r)
	r.Length = int64(bs)
	d.Submit(r)
	require.NoError(t, d.Wait(r))
	expect(t, d, make([]byte, bs), 0)
}

func testAllocate(t *testing.T, d *bdev.Device) {
	write(t, d, 64<<10, 0, 1)
	require.NoError(t, d.Allocate(0, 1<<20))
	expectPattern(t, d, 64<<10, 0, 1)
	write(t, d, 64<<10, 512<<10, 2)
	expectPattern(t, d, 64<<10, 512<<10, 2)
}

func testCompare(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	n := 2<<20 + bs
	write(t, d, n, 0, 1)
	r := request(bdev.OpCompare, 0, newPattern(n, 0, 1))
	defer bdev.PutRequest(r)
	require.NoError(t, d.Do(r))
	r.Buf[n-2] ^= 1
	err := d.Do(r)
	require.ErrorIs(t, err, bdev.ErrMiscompare)
	r.Offset = d.Size()
	require.ErrorIs(t, d.Do(r), bdev.ErrOutOfRange)
}

func testCompareAndWrite(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	write(t, d, 2*bs, 0, 1)
	r := request(bdev.OpCompareAndWrite, 0, newPattern(2*bs, 0, 2))
	defer bdev.PutRequest(r)
	r.Expect = newPattern(2*bs, 0, 3)
	require.ErrorIs(t, d.Do(r), bdev.ErrMiscompare)
	expectPattern(t, d, 2*bs, 0, 1)
	pattern(r.Expect, 0, 1)
	r.FUA = true
	require.NoError(t, d.Do(r))
	expectPattern(t, d, 2*bs, 0, 2)
	r.Expect = r.Expect[:bs]
	require.ErrorIs(t, d.Do(r), bdev.ErrInvalid)
}

// testCompareAndWriteCounts has goroutines increment one counter: an increment that is not atomic gets lost.
func testCompareAndWriteCounts(t *testing.T, d *bdev.Device) {
	const goroutines, each = 6, 20
	bs := d.BlockSize()
	require.NoError(t, d.WriteZeroes(0, int64(bs)))
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				if err := increment(d, bs); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got := make([]byte, bs)
	require.NoError(t, d.Read(got, 0))
	require.EqualValues(t, goroutines*each, binary.LittleEndian.Uint64(got))
}

func increment(d *bdev.Device, bs int) error {
	r := request(bdev.OpCompareAndWrite, 0, aligned(bs))
	defer bdev.PutRequest(r)
	r.Expect = aligned(bs)
	for {
		if err := d.Read(r.Expect, 0); err != nil {
			return err
		}
		binary.LittleEndian.PutUint64(r.Buf, binary.LittleEndian.Uint64(r.Expect)+1)
		d.Submit(r)
		if err := d.Wait(r); !errors.Is(err, bdev.ErrMiscompare) {
			return err
		}
	}
}

func testCopy(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	n := 2<<20 + bs
	from, to := int64(bs), int64(4<<20)
	write(t, d, n, from, 1)
	r := request(bdev.OpCopy, to, nil)
	defer bdev.PutRequest(r)
	r.Source, r.Length = from, int64(n)
	require.NoError(t, d.Do(r))
	expect(t, d, newPattern(n, from, 1), to)
	r.Offset = from + int64(bs)
	require.ErrorIs(t, d.Do(r), bdev.ErrInvalid, "ranges overlap")
	r.Offset, r.Source = 0, d.Size()-int64(bs)
	require.ErrorIs(t, d.Do(r), bdev.ErrOutOfRange)
}

func testAbort(t *testing.T, d *bdev.Device) {
	target := request(bdev.OpRead, 0, make([]byte, d.BlockSize()))
	defer bdev.PutRequest(target)
	abort := request(bdev.OpAbort, 0, nil)
	defer bdev.PutRequest(abort)
	require.ErrorIs(t, d.Do(abort), bdev.ErrInvalid, "no target")
	d.Submit(target)
	require.NoError(t, d.Wait(target))
	abort.Target = target
	require.NoError(t, d.Do(abort), "the target is finished")
}
