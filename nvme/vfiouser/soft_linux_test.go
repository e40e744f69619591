package vfiouser

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/nvmetest"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

const softSize = 64 << 20

// softConfig is a controller with one namespace in memory.
func softConfig(storage softctrl.Storage) softctrl.Config {
	return softctrl.Config{Queues: 8, Vectors: 9, SGL: true, Namespaces: []softctrl.NamespaceConfig{{Storage: storage, BlockSize: 4096}}}
}

// serveSoft is the server in a process of its own. Block i holds i, so that the other end can check what it reads.
func serveSoft(dir string) error {
	ram, err := softctrl.NewRAM(softSize, false)
	if err != nil {
		return err
	}
	if err := number(ram); err != nil {
		return err
	}
	s, err := Listen(dir, Soft(softConfig(ram)), ServerOptions{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return s.Serve(context.Background())
}

func number(ram *softctrl.RAM) error {
	block := make([]byte, nvmetest.BlockSize)
	for i := range softSize / nvmetest.BlockSize {
		nvmetest.Number(block, uint64(i))
		if _, err := ram.WriteAt(block, int64(i)*nvmetest.BlockSize); err != nil {
			return err
		}
	}
	return nil
}

func serveRAM(t *testing.T) (*served, *softctrl.RAM) {
	t.Helper()
	ram, err := softctrl.NewRAM(softSize, false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ram.Free()) })
	return serve(t, Soft(softConfig(ram)), ServerOptions{}), ram
}

// TestTransport runs the suite of all transports.
func TestTransport(t *testing.T) {
	require.NoError(t, dmabuf.MakeShareable())
	v, _ := serveRAM(t)
	nvmetest.Transport(t, nvmetest.Env{
		Open: func(t *testing.T) nvme.Transport {
			c, err := openPatiently(v.dir)
			require.NoError(t, err)
			return c
		},
		Pages: func(t *testing.T) []byte {
			pool := dmabuf.NewPool(1 << 20)
			b := pool.Get(64 << 10)
			clear(b)
			t.Cleanup(func() {
				pool.Put(b)
				require.NoError(t, pool.Close())
			})
			return b
		},
		Eventfd: func(t *testing.T) int {
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
			return fd
		},
		Signalled: func(t *testing.T, fd int, wait bool) bool {
			if wait {
				require.NoError(t, waitFor(fd, unix.POLLIN, time.Now().Add(20*time.Second), -1))
			}
			n, _ := unix.Read(fd, make([]byte, 8))
			return n == 8
		},
	})
}

// openPatiently waits until the server has noticed that the client before is gone.
func openPatiently(dir string) (*Client, error) {
	for end := time.Now().Add(20 * time.Second); ; {
		c, err := Open(dir, Options{})
		if !errors.Is(err, ErrInUse) || time.Now().After(end) {
			return c, err
		}
	}
}

// TestDriver drives a software controller over the socket: what is written lands in the storage, what is read comes from it.
func TestDriver(t *testing.T) {
	v, ram := serveRAM(t)
	drive(t, func() nvme.Transport { return open(t, v) }, ram, 300)
}

// TestDriverWithoutSharedMemory does so with all memory reached by messages.
func TestDriverWithoutSharedMemory(t *testing.T) {
	v, ram := serveRAM(t)
	drive(t, func() nvme.Transport { return &farClient{open(t, v)} }, ram, 20)
	require.Greater(t, v.Stats().Work, uint64(20))
}

// farClient keeps the descriptors of its memory to itself.
type farClient struct{ *Client }

func (c *farClient) Alloc(size int) (nvme.DMA, error) {
	size = (size + 4095) &^ 4095
	m, err := dmabuf.NewRegion(int64(size))
	if err != nil {
		return nvme.DMA{}, err
	}
	b := m.Bytes()
	iova := addressOf(b)
	if err := c.memory.add(iova, region{bytes: b}); err != nil {
		return nvme.DMA{}, err
	}
	_, err = c.call(wire.CmdDMAMap, &wire.DMAMap{Flags: wire.DMAReadable | wire.DMAWriteable, Address: iova, Size: uint64(size)}, nil)
	return nvme.DMA{Bytes: b, IOVA: iova}, err
}

func (c *farClient) Free(m nvme.DMA) error { // the test's process ends soon enough
	c.memory.remove(m.IOVA)
	return c.endMap(m.IOVA, uint64(len(m.Bytes)))
}

func drive(t *testing.T, transport func() nvme.Transport, ram *softctrl.RAM, turns int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c, err := nvme.Open(transport(), nvme.Options{Queues: 2})
	require.NoError(t, err)
	q, err := c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	ns := c.Namespaces()[0]
	mem, err := c.Alloc(1 << 20)
	require.NoError(t, err)
	want := make([]byte, 1<<20)
	for range turns {
		n := (1 + rng.IntN(64)) * 4096
		lba := rng.Uint64N(softSize/4096 - 64)
		for at := 0; at < n; at += 8 {
			binary.LittleEndian.PutUint64(mem[at:], rng.Uint64())
		}
		require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpWrite, NS: ns, LBA: lba, Buf: mem[:n]}))
		_, err := ram.ReadAt(want[:n], int64(lba)*4096)
		require.NoError(t, err)
		require.Equal(t, want[:n], mem[:n], "in the storage")

		lba = rng.Uint64N(softSize/4096 - 64)
		_, err = ram.ReadAt(want[:n], int64(lba)*4096)
		require.NoError(t, err)
		clear(mem[:n])
		require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpRead, NS: ns, LBA: lba, Buf: mem[:n]}))
		require.Equal(t, want[:n], mem[:n], "from the storage")
	}
	require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpFlush, NS: ns}))
	require.NoError(t, c.Reset())
	require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpRead, NS: ns, Buf: mem[:4096]}), "after a reset")
	require.NoError(t, c.Close())
}

// wakingClient counts.
type wakingClient struct {
	*Client
	wakes atomic.Int32
}

func (c *wakingClient) Wake() error {
	c.wakes.Add(1)
	return c.Client.Wake()
}

// TestWake: who waits for a server that may be asleep wakes it, by a message that is not answered.
func TestWake(t *testing.T) {
	v, _ := serveRAM(t)
	tr := &wakingClient{Client: open(t, v)}
	before := v.Stats().Messages
	require.NoError(t, tr.Client.Wake())
	_, err := tr.Load32(spec.RegVS)
	require.NoError(t, err)
	require.Equal(t, before+2, v.Stats().Messages)

	c, err := nvme.Open(tr, nvme.Options{Queues: 1})
	require.NoError(t, err)
	q, err := c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	woken := tr.wakes.Load()
	for i := 0; i < 5 && tr.wakes.Load() == woken; i++ { // it may happen to be awake
		time.Sleep(300 * time.Millisecond) // it sleeps for more than 2 ms at a time then
		require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpFlush, NS: c.Namespaces()[0]}))
	}
	require.Greater(t, tr.wakes.Load(), woken, "the server was left to find the command")
	require.NoError(t, c.Close())
}

// TestWakeNeverTakesADoorbellBack wakes the server all the time while commands go to it: it carries out each once.
func TestWakeNeverTakesADoorbellBack(t *testing.T) {
	v, _ := serveRAM(t)
	c, q, mem := openDriver(t, v.dir)
	defer func() { require.NoError(t, c.Close()) }()
	work := v.Stats().Work
	r := nvmetest.NewReader(q, c.Namespaces()[0], softSize/nvmetest.BlockSize, mem, 4)
	one, done := []*nvme.Request{{Op: nvme.OpFlush, NS: c.Namespaces()[0]}}, make([]*nvme.Request, 1)
	for range 2000 {
		require.NoError(t, r.Run(7, false))
		require.Equal(t, 1, q.Submit(one))
		q.Wake()
		for q.Poll(done) == 0 {
			runtime.Gosched()
		}
	}
	require.NoError(t, c.Poll())
	require.Zero(t, q.Stats().Violations)
	require.EqualValues(t, 2000*8, v.Stats().Work-work)
}

// TestIdleServer: a server in a process of its own costs next to nothing while its client is idle, and still answers.
func TestIdleServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	srv := spawn(t, roleSoft, dir)
	defer kill(t, srv)
	c, q, mem := openDriver(t, dir)
	defer func() { require.NoError(t, c.Close()) }()
	r := nvmetest.NewReader(q, c.Namespaces()[0], softSize/nvmetest.BlockSize, mem, 1)
	for range 2 {
		require.NoError(t, r.Run(1000, true))
		before := cpuTime(t, srv.Process.Pid)
		start := time.Now()
		time.Sleep(1500 * time.Millisecond)
		idle := time.Since(start)
		require.Less(t, cpuTime(t, srv.Process.Pid)-before, idle/4, "of processor time; one that spins takes all of it")
		require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpRead, NS: c.Namespaces()[0], LBA: 5, Buf: mem[:4096]}))
		require.True(t, nvmetest.Numbered(mem[:4096], 5))
	}
	require.Zero(t, q.Stats().Timeouts)
	require.Zero(t, c.Resets())
}

// cpuTime is what a process has used of processors so far, by proc(5) in hundredths of a second.
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(b), ") ") // after the command's name
	require.True(t, ok)
	fields := strings.Fields(rest)
	total := 0
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(f)
		require.NoError(t, err)
		total += n
	}
	return time.Duration(total) * 10 * time.Millisecond
}

// TestKillServerUnderDriver kills the controller's process while commands are outstanding: all come back, as gone, none hangs. The next server
// and the next driver go on.
func TestKillServerUnderDriver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	for range 2 {
		srv := spawn(t, roleSoft, dir)
		c, q, mem := openDriver(t, dir)
		reqs := make([]*nvme.Request, 32)
		for i := range reqs {
			reqs[i] = &nvme.Request{Op: nvme.OpRead, NS: c.Namespaces()[0], Buf: mem[i*4096:][:4096]}
		}
		done, out, n, killed := make([]*nvme.Request, 32), 0, 0, false
		for !killed || out > 0 {
			if !killed {
				out += q.Submit(reqs[:32-out])
			}
			if n++; n == 200 {
				kill(t, srv)
				killed = true
			}
			got := q.Poll(done)
			for i, r := range done[:got] {
				if r.Err != nil {
					require.ErrorIs(t, r.Err, nvme.ErrGone)
				}
				reqs[32-out+i] = r
			}
			out -= got
			_ = c.Poll() // says that it is gone, which the requests say too
		}
		for c.Poll() == nil { // it looks at the controller now and then
		}
		require.ErrorIs(t, c.Poll(), nvme.ErrGone)
		err := q.Do(reqs[0])
		require.ErrorIs(t, err, nvme.ErrGone)
		require.NotContains(t, err.Error(), dir, "whoever has the queue knows of what")
		err = c.Reset()
		require.ErrorIs(t, err, nvme.ErrGone)
		require.Equal(t, 1, strings.Count(err.Error(), dir), err)
		_ = c.Close() // nobody is there to be shut down
	}
}

func openDriver(t testing.TB, dir string) (*nvme.Controller, *nvme.Queue, []byte) {
	t.Helper()
	tr, err := Open(dir, Options{})
	require.NoError(t, err)
	c, err := nvme.Open(tr, nvme.Options{Queues: 1})
	require.NoError(t, err)
	q, err := c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	mem, err := c.Alloc(1 << 20)
	require.NoError(t, err)
	return c, q, mem
}

// TestShrunkQueue cuts the memory of rings and data short while the software controller uses it.
func TestShrunkQueue(t *testing.T) {
	v, _ := serveRAM(t)
	c := open(t, v)
	fd, err := unix.MemfdCreate("short", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, 1<<16))
	_, err = c.call(wire.CmdDMAMap, &wire.DMAMap{Flags: wire.DMAReadable | wire.DMAWriteable, Address: 1 << 20, Size: 1 << 16}, []int{fd})
	require.NoError(t, err)
	require.NoError(t, c.Store32(0x24, 7<<16|7)) // admin queues of 8 entries
	require.NoError(t, c.Store64(0x28, 1<<20))
	require.NoError(t, c.Store64(0x30, 1<<20+8192))
	require.NoError(t, c.Store32(0x14, 0x460001))
	require.NoError(t, unix.Ftruncate(fd, 4096)) // the submission queue stays, the completion queue is gone
	_ = c.Store32(barRegisters, 1)               // the answer may be the end of the connection
	require.Contains(t, v.wait(t, "client gone"), "not there any more")
	next := open(t, v)
	_, err = next.Load64(0)
	require.NoError(t, err)
}
