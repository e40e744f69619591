package bdevtest

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

var closeCases = []testCase{
	{"Closed", testClosed},
	{"CloseWaitsForRequests", testCloseWaits},
	{"CloseUnderLoad", testCloseUnderLoad},
}

func testClosed(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	require.NoError(t, d.Close())
	p := make([]byte, bs)
	for _, err := range []error{d.Read(p, 0), d.Write(p, 0), d.Flush(), d.Unmap(0, int64(bs)), d.WriteZeroes(0, int64(bs)),
		d.Allocate(0, int64(bs)), d.Resize(d.Size() * 2), d.Close()} {
		require.ErrorIs(t, err, bdev.ErrClosed)
	}
	r := request(bdev.OpRead, 0, p)
	defer bdev.PutRequest(r)
	d.Submit(r)
	require.ErrorIs(t, d.Wait(r), bdev.ErrClosed)
}

func testCloseWaits(t *testing.T, d *bdev.Device) {
	rs := submitWrites(d, 64, 1)
	require.NoError(t, d.Close())
	for _, r := range rs {
		require.True(t, r.Done(), "closed with a request in flight")
		require.NoError(t, r.Err())
	}
}

func testCloseUnderLoad(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	var started, wg sync.WaitGroup
	for i := range 8 {
		started.Add(1)
		wg.Go(func() {
			p := newPattern(bs, int64(i*bs), 1)
			err := d.Write(p, int64(i*bs))
			started.Done()
			for err == nil {
				err = d.Write(p, int64(i*bs))
			}
			if !errors.Is(err, bdev.ErrClosed) {
				t.Error(err)
			}
		})
	}
	started.Wait()
	require.NoError(t, d.Close())
	wg.Wait()
}
