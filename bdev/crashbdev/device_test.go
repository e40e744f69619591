package crashbdev

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

// TestDevice goes through the core: what a device flushed is there after every cut.
func TestDevice(t *testing.T) {
	for _, o := range []Options{
		{Size: 1 << 20},
		{Size: 1 << 20, BlockSize: 4096, NoFUA: true, CompletionSeed: 3, MaxTransfer: 8192},
		{Size: 1 << 20, SyncOps: bdev.Ops(bdev.OpFlush, bdev.OpUnmap, bdev.OpWriteZeroes), QueueDepth: 2},
	} {
		disk := New(o)
		dev, err := disk.Open("disk")
		require.NoError(t, err)
		var wg sync.WaitGroup
		for i := range int64(4) {
			wg.Go(func() {
				p := bytes.Repeat([]byte{byte(i) + 1}, 64<<10)
				require.NoError(t, dev.Write(p, i*128<<10))
				require.NoError(t, dev.Flush())
				require.NoError(t, dev.WriteZeroes(i*128<<10, 4096))
				require.NoError(t, dev.Do(&bdev.Request{Op: bdev.OpWrite, FUA: true, Buf: p[:4096], Offset: i*128<<10 + 64<<10}))
			})
		}
		wg.Wait()
		require.NoError(t, dev.Close())
		after, err := disk.Cut(Random, rand.Uint64()).Open("after")
		require.NoError(t, err)
		for i := range int64(4) {
			p := make([]byte, 64<<10)
			require.NoError(t, after.Read(p, i*128<<10+4096))
			require.Equal(t, bytes.Repeat([]byte{byte(i) + 1}, 64<<10), p)
		}
		require.NoError(t, after.Close())
	}
}

// TestCutAfterLoop is the loop that power-cut tests are made of.
func TestCutAfterLoop(t *testing.T) {
	workload := func(disk *Disk) (acknowledged int, err error) {
		dev, err := disk.Open("disk")
		require.NoError(t, err)
		defer func() { require.NoError(t, dev.Close()) }()
		for i := range 5 {
			if err := dev.Write(bytes.Repeat([]byte{byte(i) + 1}, 4096), int64(i)*4096); err != nil {
				return acknowledged, err
			}
			if err := dev.Flush(); err != nil {
				return acknowledged, err
			}
			acknowledged++
		}
		return acknowledged, nil
	}
	for n := int64(1); ; n++ {
		disk := New(Options{Size: 1 << 20})
		disk.CutAfter(n)
		acknowledged, err := workload(disk)
		for seed := range uint64(10) {
			after := disk.Cut(Random, seed)
			for i := range acknowledged {
				require.Equal(t, byte(i)+1, fill(t, after, int64(i)*8+7))
			}
		}
		if err == nil {
			require.EqualValues(t, 11, n, "5 writes, 5 flushes")
			return
		}
		require.ErrorIs(t, err, ErrPoweredOff)
		require.ErrorIs(t, err, bdev.ErrIO)
	}
}
