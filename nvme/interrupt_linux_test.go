package nvme_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

// TestInterrupts: completions signal the eventfd of their queue, also after a reset, and no more once it is closed.
func TestInterrupts(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
	signals := func() uint64 {
		var b [8]byte
		if n, err := unix.Read(fd, b[:]); n != 8 {
			require.ErrorIs(t, err, unix.EAGAIN)
			return 0
		}
		return binary.NativeEndian.Uint64(b[:])
	}
	r := newRig(t, setup{cfg: softctrl.Config{Vectors: 3}, queue: nvme.QueueOptions{EventFD: fd}})
	require.Zero(t, signals())
	for range 3 {
		reqs := r.start(5, nvme.OpRead)
		require.EqualValues(t, 5, signals())
		r.finish(reqs)
		require.NoError(t, r.c.Reset())
	}
	second, err := r.c.OpenQueue(nvme.QueueOptions{EventFD: fd})
	require.NoError(t, err)
	_, err = r.c.OpenQueue(nvme.QueueOptions{EventFD: fd})
	require.ErrorIs(t, err, nvme.ErrUnsupported, "vector 3 of 3")
	require.NoError(t, second.Do(&nvme.Request{Op: nvme.OpFlush, NS: r.ns}))
	require.EqualValues(t, 1, signals())
	require.NoError(t, second.Close())

	plain := newRig(t, setup{})
	_, err = plain.c.OpenQueue(nvme.QueueOptions{EventFD: fd})
	require.ErrorIs(t, err, nvme.ErrUnsupported)
}
