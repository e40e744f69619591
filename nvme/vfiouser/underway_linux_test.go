package vfiouser

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/internal/memfault"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/nvmetest"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// patient is queued storage that ends a read when somebody waits for it, and by itself once hurry is set. It takes nothing else.
type patient struct {
	softctrl.Storage
	hurry atomic.Bool
	under atomic.Int32 // operations
	open  atomic.Int32 // queues
	fault atomic.Bool  // an operation found its buffer gone
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
	if o.Kind != softctrl.StorageRead {
		return false
	}
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

// carryOut makes an error of a buffer that is gone, as a kernel does.
func (q *patientQueue) carryOut(o softctrl.StorageOp) (err error) {
	defer func() { q.s.fault.CompareAndSwap(false, errors.Is(err, memfault.ErrFault)) }()
	defer memfault.Recover(&err)
	_, err = q.s.ReadAt(o.Buf, o.Offset)
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
			require.Eventually(t, func() bool { return s.under.Load() == 0 }, 20*time.Second, time.Millisecond)
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
		require.Eventually(t, func() bool { return s.open.Load() == 0 }, 20*time.Second, time.Millisecond, name)
	}
	s.hurry.Store(true)
	c, q, mem := openDriver(t, v.dir)
	before := v.Stats().Commands
	require.NoError(t, nvmetest.NewReader(q, c.Namespaces()[0], softSize/nvmetest.BlockSize, mem, 32).Run(20000, true))
	require.Eventually(t, func() bool { return v.Stats().Commands-before == 20000 }, 20*time.Second, time.Millisecond, "each is counted once")
	require.NoError(t, c.Close())
	v.stop()
	require.NoError(t, ram.Free())
}

// fileClient gives out memory that is files, which nobody has sealed.
type fileClient struct {
	*Client
	dir  string
	last string // the file of the last Alloc
}

func (c *fileClient) Alloc(size int) (nvme.DMA, error) {
	f, err := os.CreateTemp(c.dir, "")
	if err != nil {
		return nvme.DMA{}, err
	}
	defer f.Close()
	c.last, size = f.Name(), (size+4095)&^4095
	if err := f.Truncate(int64(size)); err != nil {
		return nvme.DMA{}, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nvme.DMA{}, err
	}
	m := &wire.DMAMap{Flags: wire.DMAReadable | wire.DMAWriteable, Address: addressOf(b), Size: uint64(size)}
	_, err = c.call(wire.CmdDMAMap, m, []int{int(f.Fd())})
	return nvme.DMA{Bytes: b, IOVA: m.Address}, err
}

func (c *fileClient) Free(m nvme.DMA) error { return unix.Munmap(m.Bytes) }

// TestShrunkUnderWay cuts the memory of a read short that is under way when its client leaves, and ends then: the server goes on.
func TestShrunkUnderWay(t *testing.T) {
	ram, err := softctrl.NewRAM(softSize, false)
	require.NoError(t, err)
	s := &patient{Storage: ram}
	v := serve(t, Soft(softConfig(s)), ServerOptions{})
	tr := &fileClient{Client: open(t, v), dir: t.TempDir()}
	c, err := nvme.Open(tr, nvme.Options{Queues: 1})
	require.NoError(t, err)
	q, err := c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	mem, err := c.Alloc(nvmetest.BlockSize)
	require.NoError(t, err)
	require.Equal(t, 1, q.Submit([]*nvme.Request{{Op: nvme.OpRead, NS: c.Namespaces()[0], Buf: mem}}))
	require.Eventually(t, func() bool { return s.under.Load() == 1 }, 20*time.Second, time.Millisecond)
	require.NoError(t, os.Truncate(tr.last, 0))
	require.NoError(t, tr.Close())
	v.wait(t, "client gone")
	require.Zero(t, s.under.Load())
	require.True(t, s.fault.Load(), "the memory was there")
	_ = c.Close() // its transport went away under it
	next := open(t, v)
	_, err = next.Load64(0)
	require.NoError(t, err)
	v.stop()
	require.NoError(t, ram.Free())
}

// TestUnderWayWithoutSharedMemory: memory that is reached by messages is not there for longer than a call, so its commands end at once.
func TestUnderWayWithoutSharedMemory(t *testing.T) {
	ram, err := softctrl.NewRAM(softSize, false)
	require.NoError(t, err)
	v := serve(t, Soft(softConfig(&patient{Storage: ram})), ServerOptions{})
	drive(t, func() nvme.Transport { return &farClient{open(t, v)} }, ram, 20)
	v.stop()
	require.NoError(t, ram.Free())
}
