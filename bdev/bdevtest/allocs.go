package bdevtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

// NoAllocations wants aligned reads and writes to allocate nothing, from goroutines and on a channel. The race detector
// makes pools drop entries at random, so it does not run there.
func NoAllocations(t *testing.T, d *bdev.Device) {
	if raceEnabled {
		t.Skip("pools are not reliable under the race detector")
	}
	p := aligned(4096)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if d.Write(p, 0) != nil || d.Read(p, 4096) != nil {
			t.Error("I/O failed")
		}
	}), "per write and read")
	require.Zero(t, testing.AllocsPerRun(200, func() {
		r := request(bdev.OpRead, 0, p)
		d.Submit(r)
		if d.Wait(r) != nil {
			t.Error("I/O failed")
		}
		bdev.PutRequest(r)
	}), "per submitted read")
	noChannelAllocations(t, d, p)
}

func noChannelAllocations(t *testing.T, d *bdev.Device, p []byte) {
	c, err := d.OpenChannel()
	require.NoError(t, err)
	rs, done := []*bdev.Request{request(bdev.OpRead, 0, p)}, make([]*bdev.Request, 1)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if c.Submit(rs) != 1 || c.Wait(done) != 1 || done[0].Err() != nil {
			t.Error("I/O failed")
		}
	}), "per read on a channel")
	require.NoError(t, c.Close())
}
