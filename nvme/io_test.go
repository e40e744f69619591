package nvme_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

func TestReadWrite(t *testing.T) {
	for _, s := range []setup{
		{},
		{cfg: softctrl.Config{SGL: true}},
		{cfg: softctrl.Config{Shadow: true}},
		{cfg: softctrl.Config{Shadow: true, DoorbellStride: 2}},
		{cfg: softctrl.Config{MDTS: 1}},
		{cfg: softctrl.Config{MDTS: softctrl.NoLimit}, o: nvme.Options{MaxTransfer: 2 << 20}},
		{cfg: softctrl.Config{Entries: 4}},
		{o: nvme.Options{Depth: 2}},
	} {
		t.Run(fmt.Sprintf("%+v", s.cfg), func(t *testing.T) {
			rng := newRand(t)
			r := newRig(t, s)
			for range 12 {
				blocks := 1 + rng.IntN(1400)
				lba := uint64(rng.IntN(numBlocks - blocks))
				r.used = 4 * rng.IntN(2000)
				w := r.buf(blocks*blockSize, rng)
				r.used += 4 * rng.IntN(2000)
				b := r.buf(blocks*blockSize, rng)
				r.write(lba, w)
				require.Equal(t, w, r.read(lba, b))
			}
			require.Zero(t, r.q.Outstanding())
		})
	}
}

// TestShadowReopened: a queue that was closed and opened again starts anew, in the shadow doorbells too: nothing is carried out that was
// not asked for, and the first command is.
func TestShadowReopened(t *testing.T) {
	w := &watch{}
	r := newRig(t, setup{cfg: softctrl.Config{Shadow: true, Observe: w.observe}})
	for _, n := range []int{5, 3, 200, 1} {
		require.NoError(t, r.q.Close())
		var err error
		r.q, err = r.c.OpenQueue(nvme.QueueOptions{})
		require.NoError(t, err)
		r.soft.Process()
		w.takeIO()
		for range n {
			require.NoError(t, r.do(nvme.Request{Op: nvme.OpFlush, NS: r.ns}))
		}
		require.Len(t, w.takeIO(), n)
		require.Zero(t, r.q.Stats().Timeouts)
		require.Zero(t, r.q.Stats().Violations)
	}
	require.Zero(t, r.c.Resets())
}
