package bdev_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// stuckAfter is when a test takes an operation for one that never ends.
const stuckAfter = 10 * time.Second

// unaligned is an attended read of n bytes into memory that the backend cannot reach, of the shared channel that it is
// told.
func unaligned(n, channel int) *bdev.Request {
	r := &bdev.Request{Op: bdev.OpRead, Attended: true}
	r.SetHome(uint32(channel))
	r.Buf = dmabuf.Aligned(make([]byte, n+2*dmabuf.MinClass), dmabuf.MinClass)[1 : n+1]
	return r
}

// bouncing is a device of two channels that cannot do without bounce buffers.
func bouncing(t *testing.T) *bdev.Device {
	f := newFake()
	f.props.BufferAlign, f.props.MaxTransfer, f.props.QueueDepth = 4096, fakeSize, 64
	return f.open(t, bdev.Options{Channels: 2})
}

// TestBounceMemoryOfOthers has one goroutine submit attended requests whose pieces take all bounce buffers, and then do
// something else that needs one. Nobody polls for the first requests: they are waited for afterwards.
func TestBounceMemoryOfOthers(t *testing.T) {
	one, other := bouncing(t), bouncing(t)
	plain := make([]byte, 4096)
	for name, do := range map[string]func() error{
		"another channel": func() error { return one.Do(unaligned(4096, 1)) },
		"another device":  func() error { return other.Do(unaligned(4096, 0)) },
		"compare":         func() error { return one.Do(&bdev.Request{Op: bdev.OpCompare, Buf: plain}) },
		"copy": func() error {
			return other.Do(&bdev.Request{Op: bdev.OpCopy, Length: 4096, Source: 8192})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var rs []*bdev.Request
			for range dmabuf.DefaultLimit / fakeSize {
				r := unaligned(fakeSize, 0)
				one.Submit(r)
				rs = append(rs, r)
			}
			require.EqualValues(t, dmabuf.DefaultLimit, dmabuf.Default.Stats().Used, "no buffer is left")
			done := make(chan error, 1)
			go func() { done <- do() }()
			var err error
			select {
			case err = <-done:
			case <-time.After(stuckAfter):
				err = fmt.Errorf("it waits for memory that nobody polls for")
			}
			for _, r := range rs { // also polls, so that a failed test ends
				require.NoError(t, one.Wait(r))
			}
			require.NoError(t, err)
			require.Zero(t, dmabuf.Default.Stats().Used)
		})
	}
}

// TestChannelBouncesFromItsOwn leaves unaligned requests unpolled on a private channel. Nobody else can poll that one, so
// they must not hold what others wait for.
func TestChannelBouncesFromItsOwn(t *testing.T) {
	d := bouncing(t)
	c, err := d.OpenChannel()
	require.NoError(t, err)
	rs := make([]*bdev.Request, 2*dmabuf.DefaultLimit/fakeSize)
	for i := range rs {
		rs[i] = unaligned(fakeSize, 0)
	}
	require.Equal(t, len(rs), c.Submit(rs))
	require.Zero(t, dmabuf.Default.Stats().Used)
	done := make([]*bdev.Request, len(rs))
	for n := 0; n < len(rs); {
		n += c.Wait(done)
	}
	for _, r := range rs {
		require.NoError(t, r.Err())
	}
	require.NoError(t, c.Close(), "with all its memory back")
}
