package main

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

// queueDriver is the controller's side of an exportQueue.
type queueDriver struct {
	t    *testing.T
	q    softctrl.StorageQueue
	ops  map[int]softctrl.StorageOp // under way
	then map[int]func()             // when one has ended well
	fail error                      // of the last that failed
}

func (d *queueDriver) start(tag int, o softctrl.StorageOp, then func()) bool {
	if !d.q.Start(tag, o) {
		return false
	}
	d.ops[tag], d.then[tag] = o, then
	return true
}

func (d *queueDriver) ended(tag int, err error) {
	require.Contains(d.t, d.ops, tag)
	delete(d.ops, tag)
	if d.fail = err; err == nil {
		d.then[tag]()
	}
}

func (d *queueDriver) drain() {
	for len(d.ops) > 0 {
		require.Positive(d.t, d.q.Poll(true, d.ended))
	}
	require.Zero(d.t, d.q.Poll(true, d.ended))
}

// TestExportQueue reads and writes many blocks at a time, and compares with memory.
func TestExportQueue(t *testing.T) {
	const bs, size, tags = 4096, 1 << 20, 64
	for _, name := range []string{"malloc:1MiB?block=4096", "aio:" + filepath.Join(t.TempDir(), "image") + "?size=1MiB&block=4096"} {
		dev, err := open.Device(name, open.Options{Create: true})
		require.NoError(t, err)
		s := exportStorage{dev, func(string) {}}
		queued, ok := s.forController().(softctrl.QueuedStorage)
		require.True(t, ok)
		q, err := queued.OpenQueue(tags)
		require.NoError(t, err)
		d := &queueDriver{t: t, q: q, ops: map[int]softctrl.StorageOp{}, then: map[int]func(){}}
		seed := uint64(time.Now().UnixNano())
		t.Logf("%s, seed %d", name, seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		want, buffers := make([]byte, size), dmabuf.Default.Get(tags*bs)
		for range 50 {
			blocks := rng.Perm(size / bs) // of those under way no two are the same
			for tag := range tags {
				at := blocks[tag] * bs
				buf := buffers[tag*bs:][:bs]
				if rng.IntN(2) == 0 {
					require.True(t, d.start(tag, softctrl.StorageOp{Kind: softctrl.StorageRead, Buf: buf, Offset: int64(at)}, func() {
						require.True(t, bytes.Equal(want[at:at+bs], buf))
					}))
					continue
				}
				for i := range buf {
					buf[i] = byte(rng.Uint32())
				}
				copy(want[at:], buf)
				require.True(t, d.start(tag, softctrl.StorageOp{Kind: softctrl.StorageWrite, Buf: buf, Offset: int64(at)}, func() {}))
			}
			if rng.IntN(2) == 0 {
				q.Poll(false, d.ended)
			}
			d.drain()
		}
		require.NoError(t, d.fail)
		require.True(t, d.start(3, softctrl.StorageOp{Kind: softctrl.StorageRead, Buf: buffers[:bs], Offset: size}, func() {}))
		d.drain()
		require.ErrorIs(t, d.fail, bdev.ErrOutOfRange)

		// A panic in what is told of one leaves the others.
		for tag := range tags {
			require.True(t, d.start(tag, softctrl.StorageOp{Kind: softctrl.StorageRead, Buf: buffers[tag*bs:][:bs]}, func() { panic("host") }))
		}
		panics := 0
		for len(d.ops) > 0 {
			func() {
				defer func() {
					if recover() != nil {
						panics++
					}
				}()
				q.Poll(true, d.ended)
			}()
		}
		require.Equal(t, tags, panics)
		dmabuf.Default.Put(buffers)
		require.NoError(t, q.Close())
		require.NoError(t, s.close())
	}
}

// TestExportQueueTakes what the device's own queue does, and no storage that waits on the calling goroutine has one.
func TestExportQueueTakes(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	for _, c := range []struct {
		name                   string
		queued, durable, flush bool
	}{
		{"malloc:1MiB", true, true, false},
		{"aio:" + image + "?size=1MiB", true, false, false},
		{"file:" + image, false, false, false},
		{"nvme-sim:1MiB", true, true, true},
	} {
		dev, err := open.Device(c.name, open.Options{Create: true})
		require.NoError(t, err)
		s := exportStorage{dev, func(string) {}}
		queued, ok := s.forController().(softctrl.QueuedStorage)
		require.Equal(t, c.queued, ok, c.name)
		if ok {
			q, err := queued.OpenQueue(2)
			require.NoError(t, err)
			d := &queueDriver{t: t, q: q, ops: map[int]softctrl.StorageOp{}, then: map[int]func(){}}
			buf := dmabuf.Default.Get(4096)
			require.Equal(t, c.durable, d.start(0, softctrl.StorageOp{Kind: softctrl.StorageWrite, Durable: true, Buf: buf}, func() {}), c.name)
			require.Equal(t, c.flush, d.start(1, softctrl.StorageOp{Kind: softctrl.StorageFlush}, func() {}), c.name)
			d.drain()
			require.NoError(t, d.fail)
			dmabuf.Default.Put(buf)
			require.NoError(t, q.Close())
		}
		require.NoError(t, s.close())
	}
}
