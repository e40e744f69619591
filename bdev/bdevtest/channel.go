package bdevtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

var channelCases = []testCase{
	{"ChannelVerify", testChannelVerify},
	{"ChannelEveryKind", testChannelKinds},
	{"ChannelFull", testChannelFull},
	{"ChannelKeepsDeviceOpen", testChannelKeepsOpen},
}

// collect waits for n requests of a channel.
func collect(t *testing.T, c *bdev.Channel, n int) []*bdev.Request {
	t.Helper()
	var all []*bdev.Request
	done := make([]*bdev.Request, 16)
	for len(all) < n {
		got := c.Wait(done)
		require.NotZero(t, got)
		all = append(all, done[:got]...)
	}
	require.Zero(t, c.Poll(done), "a request was handed out twice")
	return all
}

// submitAll submits all, polling when the channel is full; it returns what it polled.
func submitAll(t *testing.T, c *bdev.Channel, rs []*bdev.Request) (early []*bdev.Request) {
	t.Helper()
	done := make([]*bdev.Request, 8)
	for len(rs) > 0 {
		n := c.Submit(rs)
		if rs = rs[n:]; len(rs) > 0 {
			got := c.Wait(done)
			require.NotZero(t, got, "the channel is full and nothing is in flight")
			early = append(early, done[:got]...)
		}
	}
	return early
}

// runOn submits requests and waits for all of them.
func runOn(t *testing.T, c *bdev.Channel, rs []*bdev.Request) {
	t.Helper()
	early := submitAll(t, c, rs)
	all := append(early, collect(t, c, len(rs)-len(early))...)
	seen := map[*bdev.Request]bool{}
	for _, r := range all {
		require.False(t, seen[r], "a request was handed out twice")
		require.True(t, r.Done())
		seen[r] = true
	}
	require.Len(t, seen, len(rs))
}

func testChannelVerify(t *testing.T, d *bdev.Device) {
	rng := newRand(t)
	c, err := d.OpenChannel()
	require.NoError(t, err)
	bs := d.BlockSize()
	blocks := min(int(d.Size())/bs, 512)
	generation := make([]uint64, blocks)
	require.NoError(t, d.Write(newPattern(blocks*bs, 0, 0), 0))
	for round := range uint64(20) {
		rs := make([]*bdev.Request, 32)
		for i, block := range rng.Perm(blocks)[:len(rs)] {
			off := int64(block * bs)
			rs[i] = request(bdev.OpRead, off, aligned(bs))
			if rng.IntN(2) == 0 {
				rs[i].Op, generation[block] = bdev.OpWrite, round
				pattern(rs[i].Buf, off, round)
			}
		}
		runOn(t, c, rs)
		for _, r := range rs {
			require.NoError(t, r.Err())
			requireSame(t, newPattern(bs, r.Offset, generation[int(r.Offset)/bs]), r.Buf, r.Offset)
			bdev.PutRequest(r)
		}
	}
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Close(), bdev.ErrClosed)
	stats := d.Stats()
	require.EqualValues(t, 20*32+1, stats.Of(bdev.OpRead).Latency.Count+stats.Of(bdev.OpWrite).Latency.Count)
}

// testChannelKinds mixes requests that take every path through a channel.
func testChannelKinds(t *testing.T, d *bdev.Device) {
	c, err := d.OpenChannel()
	require.NoError(t, err)
	bs := d.BlockSize()
	long, mis := aligned(longLength(d)), misaligned(4*bs)
	pattern(long, 0, 1)
	pattern(mis, int64(len(long)), 2)
	fua := request(bdev.OpWrite, 7<<20, newPattern(bs, 7<<20, 3))
	fua.FUA = true
	zero := request(bdev.OpWriteZeroes, 7<<20+64<<10, nil)
	zero.Length = 32 << 10
	rs := []*bdev.Request{
		request(bdev.OpWrite, 0, long),
		request(bdev.OpRead, d.Size(), make([]byte, bs)),
		request(bdev.OpWrite, int64(len(long)), mis),
		request(bdev.OpFlush, 0, nil),
		request(bdev.OpRead, 1, make([]byte, bs)),
		fua, zero,
		request(bdev.OpRead, 0, nil),
	}
	runOn(t, c, rs)
	for i, r := range rs {
		switch i {
		case 1:
			require.ErrorIs(t, r.Err(), bdev.ErrOutOfRange)
		case 4:
			require.ErrorIs(t, r.Err(), bdev.ErrUnaligned)
		default:
			require.NoError(t, r.Err(), "request %d", i)
		}
	}
	expectPattern(t, d, len(long), 0, 1)
	expectPattern(t, d, 4*bs, int64(len(long)), 2)
	expectPattern(t, d, bs, 7<<20, 3)
	expect(t, d, make([]byte, 32<<10), 7<<20+64<<10)
	back := request(bdev.OpRead, 0, misaligned(len(long)))
	runOn(t, c, []*bdev.Request{back})
	require.NoError(t, back.Err())
	requireSame(t, long, back.Buf, 0)
	require.NoError(t, c.Close())
}

func testChannelFull(t *testing.T, d *bdev.Device) {
	c, err := d.OpenChannel()
	require.NoError(t, err)
	bs := d.BlockSize()
	rs := make([]*bdev.Request, beyondDepth(d))
	for i := range rs {
		rs[i] = request(bdev.OpWrite, int64(i*bs), newPattern(bs, int64(i*bs), 8))
	}
	runOn(t, c, rs)
	for _, r := range rs {
		require.NoError(t, r.Err())
	}
	expectPattern(t, d, len(rs)*bs, 0, 8)
	require.Zero(t, c.Wait(make([]*bdev.Request, 1)), "nothing is outstanding")
	require.NoError(t, c.Close())
}

func testChannelKeepsOpen(t *testing.T, d *bdev.Device) {
	c, err := d.OpenChannel()
	require.NoError(t, err)
	require.ErrorIs(t, d.Close(), bdev.ErrInUse)
	write(t, d, d.BlockSize(), 0, 1)
	r := request(bdev.OpRead, 0, make([]byte, d.BlockSize()))
	require.Equal(t, 1, c.Submit([]*bdev.Request{r}))
	require.ErrorIs(t, c.Close(), bdev.ErrInUse)
	collect(t, c, 1)
	require.NoError(t, c.Close())
	require.NoError(t, d.Close())
	_, err = d.OpenChannel()
	require.ErrorIs(t, err, bdev.ErrClosed)
}
