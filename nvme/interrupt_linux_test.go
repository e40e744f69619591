package nvme_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

// newEvent returns an eventfd, and what takes the number of its signals.
func newEvent(t *testing.T) (fd int, signals func() uint64) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
	return fd, func() uint64 {
		var b [8]byte
		if n, err := unix.Read(fd, b[:]); n != 8 {
			require.ErrorIs(t, err, unix.EAGAIN)
			return 0
		}
		return binary.NativeEndian.Uint64(b[:])
	}
}

// TestInterrupts: completions signal the eventfd of their queue, also after a reset, and no more once it is closed.
func TestInterrupts(t *testing.T) {
	fd, signals := newEvent(t)
	r := newRig(t, setup{cfg: softctrl.Config{Vectors: 3}, queue: nvme.QueueOptions{EventFD: fd}})
	require.Zero(t, signals())
	for _, stuck := range []softctrl.Stuck{softctrl.StuckEnabled, softctrl.NotStuck, softctrl.NotStuck} {
		reqs := r.start(5, nvme.OpRead)
		require.EqualValues(t, 5, signals())
		r.finish(reqs)
		r.soft.SetStuck(stuck) // which a reset of the function cures, and with it nobody listens any more
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

// TestMask: a queue that is polled is not interrupted, and an interrupt that was held back comes when it is let through.
func TestMask(t *testing.T) {
	fd, signals := newEvent(t)
	r := newRig(t, setup{cfg: softctrl.Config{Vectors: 3}, queue: nvme.QueueOptions{EventFD: fd}})
	r.q.Mask(true)
	r.finish(r.start(5, nvme.OpRead))
	require.Zero(t, signals())
	r.q.Mask(false)
	require.EqualValues(t, 1, signals())
	r.finish(r.start(2, nvme.OpRead))
	require.EqualValues(t, 2, signals())
	newRig(t, setup{}).q.Mask(true) // without an eventfd there is nothing to mask
}
