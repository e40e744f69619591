package bdevtest

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
)

// LostMemory reads and writes buffers in a file whose end another process has cut off, aligned for direct I/O and not: that is the error of
// the request, and the channel stays usable.
func LostMemory(t *testing.T, d *bdev.Device) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	const size, kept = 64 << 10, 8 << 10
	fd, err := unix.MemfdCreate("lost", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	require.NoError(t, unix.Ftruncate(fd, size))
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	require.NoError(t, unix.Ftruncate(fd, kept))
	c, err := d.OpenChannel()
	require.NoError(t, err)
	n := d.Properties().BlockSize
	buffers := [][]byte{mem[:n], mem[kept:][:n], mem[1:][:n], mem[kept+1:][:n], mem[kept-n/2:][:n], mem[:n]}
	for _, op := range []bdev.Op{bdev.OpWrite, bdev.OpRead} {
		rs, done := make([]*bdev.Request, len(buffers)), make([]*bdev.Request, len(buffers))
		for i, b := range buffers {
			rs[i] = bdev.GetRequest()
			rs[i].Op, rs[i].Buf, rs[i].Offset = op, b, int64(i*n)
		}
		require.Equal(t, len(rs), c.Submit(rs))
		for finished := 0; finished < len(rs); {
			finished += c.Wait(done)
		}
		for i, r := range rs {
			lost := i == 1 || i == 3 || i == 4
			require.Equal(t, lost, r.Err() != nil, "%v, buffer %d: %v", op, i, r.Err())
			bdev.PutRequest(r)
		}
	}
	require.NoError(t, c.Close())
	require.NoError(t, unix.Munmap(mem))
	require.NoError(t, unix.Close(fd))
}
