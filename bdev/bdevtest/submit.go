package bdevtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

var submitCases = []testCase{
	{"SubmitBeyondQueueDepth", testSubmitMany},
	{"WaitInReverse", testWaitInReverse},
	{"ProgressWithoutWaiter", testNoWaiter},
	{"SubmitLongMisaligned", testSubmitLong},
	{"Resubmit", testResubmit},
	{"Reset", testReset},
}

// submitWrites starts n writes of one block each.
func submitWrites(d *bdev.Device, n int, generation uint64) []*bdev.Request {
	bs := d.BlockSize()
	rs := make([]*bdev.Request, n)
	for i := range rs {
		off := int64(i * bs)
		rs[i] = request(bdev.OpWrite, off, aligned(bs))
		pattern(rs[i].Buf, off, generation)
		d.Submit(rs[i])
	}
	return rs
}

// beyondDepth is a number of blocks that no queue takes at once, and the device holds.
func beyondDepth(d *bdev.Device) int {
	return min(3*d.Properties().QueueDepth+5, 1000, int(d.Size())/d.BlockSize())
}

func testSubmitMany(t *testing.T, d *bdev.Device) {
	n := beyondDepth(d)
	for _, r := range submitWrites(d, n, 1) {
		require.NoError(t, d.Wait(r))
		bdev.PutRequest(r)
	}
	expectPattern(t, d, n*d.BlockSize(), 0, 1)
}

func testWaitInReverse(t *testing.T, d *bdev.Device) {
	n := beyondDepth(d)
	rs := submitWrites(d, n, 2)
	for i := len(rs) - 1; i >= 0; i-- {
		require.NoError(t, d.Wait(rs[i]))
		bdev.PutRequest(rs[i])
	}
	expectPattern(t, d, n*d.BlockSize(), 0, 2)
}

func testNoWaiter(t *testing.T, d *bdev.Device) {
	n := beyondDepth(d)
	rs := submitWrites(d, n, 3)
	flush := request(bdev.OpFlush, 0, nil)
	d.Submit(flush)
	deadline := time.Now().Add(20 * time.Second)
	for _, r := range append(rs, flush) {
		for !r.Done() {
			require.True(t, time.Now().Before(deadline), "requests without a waiter make no progress")
			time.Sleep(100 * time.Microsecond)
		}
		require.NoError(t, r.Err())
		bdev.PutRequest(r)
	}
	expectPattern(t, d, n*d.BlockSize(), 0, 3)
}

func testSubmitLong(t *testing.T, d *bdev.Device) {
	n := longLength(d)
	w := request(bdev.OpWrite, 0, misaligned(n))
	defer bdev.PutRequest(w)
	pattern(w.Buf, 0, 4)
	d.Submit(w)
	require.NoError(t, d.Wait(w))
	r := request(bdev.OpRead, 0, misaligned(n))
	defer bdev.PutRequest(r)
	d.Submit(r)
	require.NoError(t, d.Wait(r))
	requireSame(t, w.Buf, r.Buf, 0)
}

func testResubmit(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	r := request(bdev.OpWrite, 0, aligned(bs))
	defer bdev.PutRequest(r)
	for i := range uint64(50) {
		r.Op = bdev.OpWrite
		pattern(r.Buf, 0, i)
		d.Submit(r)
		require.NoError(t, d.Wait(r))
		require.NoError(t, d.Wait(r), "waiting again answers at once")
		r.Op = bdev.OpRead
		require.NoError(t, d.Do(r))
		requireSame(t, newPattern(bs, 0, i), r.Buf, 0)
	}
	r.Offset = d.Size()
	require.Error(t, d.Do(r))
	r.Offset = 0
	require.NoError(t, d.Do(r), "an earlier error does not stick")
}

func testReset(t *testing.T, d *bdev.Device) {
	rs := submitWrites(d, 64, 5)
	resets := []*bdev.Request{request(bdev.OpReset, 0, nil), request(bdev.OpReset, 0, nil)}
	for _, r := range resets {
		d.Submit(r)
	}
	direct := request(bdev.OpReset, 0, nil)
	require.NoError(t, d.Do(direct))
	for _, r := range append(append(rs, resets...), direct) {
		require.NoError(t, d.Wait(r))
		bdev.PutRequest(r)
	}
	expectPattern(t, d, 64*d.BlockSize(), 0, 5)
}
