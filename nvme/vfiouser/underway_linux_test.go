package vfiouser

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/nvmetest"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// patient is queued storage that ends an operation when somebody waits for it, and by itself once hurry is set.
type patient struct {
	softctrl.Storage
	hurry atomic.Bool
	under atomic.Int32 // operations
	open  atomic.Int32 // queues
}

func (s *patient) OpenQueue(int) (softctrl.StorageQueue, error) {
	s.open.Add(1)
	return &patientQueue{s: s}, nil
}

type patientQueue struct {
	s    *patient
	tags []int
	ops  []softctrl.StorageOp
}

func (q *patientQueue) Start(tag int, o softctrl.StorageOp) bool {
	q.tags, q.ops = append(q.tags, tag), append(q.ops, o)
	q.s.under.Add(1)
	return true
}

func (q *patientQueue) Poll(wait bool, ended func(int, error)) (n int) {
	for len(q.ops) > 0 && (wait || q.s.hurry.Load()) {
		tag, o := q.tags[0], q.ops[0]
		q.tags, q.ops = q.tags[1:], q.ops[1:]
		q.s.under.Add(-1)
		n++
		ended(tag, q.carryOut(o))
	}
	return n
}

func (q *patientQueue) carryOut(o softctrl.StorageOp) (err error) {
	switch o.Kind {
	case softctrl.StorageRead:
		_, err = q.s.ReadAt(o.Buf, o.Offset)
	case softctrl.StorageWrite:
		_, err = q.s.WriteAt(o.Buf, o.Offset)
	}
	return err
}

func (q *patientQueue) Close() error {
	if len(q.ops) > 0 {
		return fmt.Errorf("%d operations under way", len(q.ops))
	}
	q.s.open.Add(-1)
	return nil
}

// TestUnderWay has a read under way while its client unmaps its memory, resets the controller, or leaves: it ends before.
func TestUnderWay(t *testing.T) {
	ram, err := softctrl.NewRAM(softSize, false)
	require.NoError(t, err)
	require.NoError(t, number(ram))
	s := &patient{Storage: ram}
	v := serve(t, Soft(softConfig(s)), ServerOptions{})
	for name, do := range map[string]func(c *Client){
		"unmap": func(c *Client) {
			_, err := c.call(wire.CmdDMAUnmap, &wire.DMAUnmap{Flags: wire.UnmapAll}, nil)
			require.NoError(t, err)
		},
		"reset": func(c *Client) { require.NoError(t, c.Reset()) },
		"leave": func(c *Client) {
			require.NoError(t, c.Close())
			v.wait(t, "client gone")
		},
	} {
		tr, err := openPatiently(v.dir)
		require.NoError(t, err)
		c, err := nvme.Open(tr, nvme.Options{Queues: 1})
		require.NoError(t, err, name)
		q, err := c.OpenQueue(nvme.QueueOptions{})
		require.NoError(t, err)
		mem, err := c.Alloc(nvmetest.BlockSize)
		require.NoError(t, err)
		r := &nvme.Request{Op: nvme.OpRead, NS: c.Namespaces()[0], LBA: 77, Buf: mem}
		require.Equal(t, 1, q.Submit([]*nvme.Request{r}))
		require.Eventually(t, func() bool { return s.under.Load() == 1 }, 20*time.Second, time.Millisecond, name)
		do(tr)
		require.Zero(t, s.under.Load(), name)
		_ = c.Close() // its transport went away under it
		if name != "leave" {
			v.wait(t, "client gone") // which is not that of the next one
		}
		require.Eventually(t, func() bool { return s.open.Load() == 0 }, 20*time.Second, time.Millisecond, name)
	}
	s.hurry.Store(true)
	c, q, mem := openDriver(t, v.dir)
	require.NoError(t, nvmetest.NewReader(q, c.Namespaces()[0], softSize/nvmetest.BlockSize, mem, 32).Run(20000, true))
	require.NoError(t, c.Close())
	v.stop()
	require.NoError(t, ram.Free())
}
