package bdev_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// poolOnly is a fake that reaches memory of a pool alone, and fails the test when it is given any other.
func poolOnly(t *testing.T) *fake {
	f := newFake()
	f.props.Reaches = func(b []byte) bool { return dmabuf.Whole(b) != nil }
	f.fail = func(r *bdev.Request) error {
		if r.Op <= bdev.OpWrite && dmabuf.Whole(r.Buf) == nil {
			t.Errorf("%v with memory that cannot be reached", r.Op)
		}
		return nil
	}
	return f
}

// TestUnreachableBuffersAreBounced, and the others are not, on shared and private queues.
func TestUnreachableBuffersAreBounced(t *testing.T) {
	f := poolOnly(t)
	d := f.open(t, bdev.Options{})
	want := bytes.Repeat([]byte{7}, 100<<10)
	require.NoError(t, d.Write(want, 512))
	got := make([]byte, len(want))
	require.NoError(t, d.Read(got, 512))
	require.Equal(t, want, got)

	p := dmabuf.Default.Get(64 << 10)
	f.fail = func(r *bdev.Request) error {
		if r.Op <= bdev.OpWrite && &r.Buf[0] != &p[0] {
			t.Error("memory that can be reached was bounced")
		}
		return nil
	}
	require.NoError(t, d.Write(p, 0))
	c, err := d.OpenChannel()
	require.NoError(t, err)
	r := bdev.GetRequest()
	r.Op, r.Buf = bdev.OpRead, p
	var done [1]*bdev.Request
	require.Equal(t, 1, c.Submit([]*bdev.Request{r}))
	require.Equal(t, 1, c.Wait(done[:]))
	require.NoError(t, r.Err())
	f.fail = poolOnly(t).fail
	r.Buf = got[:512]
	require.Equal(t, 1, c.Submit([]*bdev.Request{r}))
	require.Equal(t, 1, c.Wait(done[:]))
	require.NoError(t, r.Err())
	bdev.PutRequest(r)
	dmabuf.Default.Put(p)
	require.NoError(t, c.Close())
	require.Zero(t, dmabuf.Default.Stats().Used)
}

// TestNativeCompareAndWrite goes to the backend up to its limit, in memory that it reaches, and is emulated above.
func TestNativeCompareAndWrite(t *testing.T) {
	f := poolOnly(t)
	f.props.Native |= bdev.Ops(bdev.OpCompareAndWrite)
	f.props.MaxCompareWrite = 1024
	d := f.open(t, bdev.Options{})
	for _, n := range []int{512, 1024, 1536} {
		r := bdev.GetRequest()
		r.Op, r.Expect, r.Buf = bdev.OpCompareAndWrite, make([]byte, n), make([]byte, n)
		f.requests()
		require.NoError(t, d.Do(r))
		seen := f.requests()
		require.Equal(t, n <= 1024, len(seen) == 1 && seen[0].op == bdev.OpCompareAndWrite, "%d bytes: %v", n, seen)
		bdev.PutRequest(r)
	}
	require.Zero(t, dmabuf.Default.Stats().Used)

	f.props.MaxCompareWrite = 0
	_, err := bdev.New("fake:", f, bdev.Options{})
	require.ErrorIs(t, err, bdev.ErrInvalid)
}

func TestResized(t *testing.T) {
	f := newFake()
	d := f.open(t, bdev.Options{})
	d.Resized(fakeSize/2 + 100)
	require.EqualValues(t, fakeSize/2, d.Size())
	require.EqualValues(t, fakeSize/2/512, d.Properties().BlockCount)
	require.ErrorIs(t, d.Write(make([]byte, 512), fakeSize/2), bdev.ErrOutOfRange)
	d.Resized(fakeSize)
	require.NoError(t, d.Write(make([]byte, 512), fakeSize/2))
	d.Resized(-1)
	require.EqualValues(t, fakeSize, d.Size())
}

func TestHealth(t *testing.T) {
	d := newFake().open(t, bdev.Options{})
	_, err := d.Health()
	require.ErrorIs(t, err, bdev.ErrUnsupported)
	f := newFake()
	f.props.Health = func() (bdev.Health, error) { return bdev.Health{WearPercent: 3}, nil }
	d = f.open(t, bdev.Options{})
	h, err := d.Health()
	require.NoError(t, err)
	require.Equal(t, 3, h.WearPercent)
}
