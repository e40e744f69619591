package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/nvmetest"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

// Roles of this test binary as the other process of BenchmarkVfioUser.
const (
	childServe = "serve"
	childPong  = "pong"
)

const (
	servedSize   = 256 << 20
	servedBlocks = servedSize / nvmetest.BlockSize
	writtenFrom  = servedBlocks / 2 // blocks from here on are the client's to write
	clientCPU    = 0
	serverCPU    = 1
)

// BenchmarkVfioUser reads 4 KiB at random places of what blobcli bdev export serves, a malloc device. Either end is a process on a
// processor of its own. Before the time counts, the client checks the content of reads, of blocks that the server wrote
// into its device; and the server checks in its device what the client wrote. server-cpu-% is the load of the server's
// processor. What bounds it is measured first: round trips of one word between the processors, and copies of blocks at random places of
// as much memory as the device has. pingpongs/op and copies/op are the time of a read in those.
func BenchmarkVfioUser(b *testing.B) {
	if runtime.NumCPU() < 2 {
		b.Skip("both ends need a processor of their own")
	}
	pin(b, os.Getpid(), clientCPU)
	var roundTrip, bareCopy float64
	b.Run("pingpong", func(b *testing.B) { roundTrip = benchPingPong(b) })
	b.Run("copy", func(b *testing.B) { bareCopy = benchCopy(b) })
	s := startServed(b)
	tr, err := vfiouser.Open(s.dir, vfiouser.Options{})
	require.NoError(b, err)
	c, err := nvme.Open(tr, nvme.Options{Queues: 1})
	require.NoError(b, err)
	q, err := c.OpenQueue(nvme.QueueOptions{})
	require.NoError(b, err)
	mem, err := c.Alloc(1 << 20)
	require.NoError(b, err)
	writeNumbers(b, c, q, mem)
	s.ask(b, "check")
	for _, depth := range []int{1, 32} {
		b.Run(fmt.Sprintf("depth%d", depth), func(b *testing.B) {
			r := nvmetest.NewReader(q, c.Namespaces()[0], servedBlocks, mem, depth)
			require.NoError(b, r.Run(100000, true))
			cpu := processCPU(b, s.cmd.Process.Pid)
			b.ReportAllocs()
			b.ResetTimer()
			require.NoError(b, r.Run(b.N, false))
			b.StopTimer()
			cpu = processCPU(b, s.cmd.Process.Pid) - cpu
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
			b.ReportMetric(100*cpu.Seconds()/b.Elapsed().Seconds(), "server-cpu-%")
			if roundTrip > 0 && bareCopy > 0 {
				b.ReportMetric(perOp(b)/roundTrip, "pingpongs/op")
				b.ReportMetric(perOp(b)/bareCopy, "copies/op")
			}
			require.NoError(b, r.Run(100000, true))
		})
	}
	require.NoError(b, c.Close())
}

func writeNumbers(b *testing.B, c *nvme.Controller, q *nvme.Queue, mem []byte) {
	step := uint64(len(mem) / nvmetest.BlockSize)
	for block := uint64(writtenFrom); block < servedBlocks; block += step {
		nvmetest.Number(mem, block)
		require.NoError(b, q.Do(&nvme.Request{Op: nvme.OpWrite, NS: c.Namespaces()[0], LBA: block, Buf: mem}))
	}
}

// served is the server's process.
type served struct {
	dir string
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startServed(b *testing.B) *served {
	s := &served{dir: filepath.Join(b.TempDir(), "dev")}
	s.cmd = exec.Command(os.Args[0])
	s.cmd.Env = append(os.Environ(), childVariable+"="+childServe, "SERVED_DIR="+s.dir)
	s.cmd.Stderr = os.Stderr
	in, err := s.cmd.StdinPipe()
	require.NoError(b, err)
	out, err := s.cmd.StdoutPipe()
	require.NoError(b, err)
	s.in, s.out = in, bufio.NewReader(out)
	require.NoError(b, s.cmd.Start())
	b.Cleanup(func() {
		require.NoError(b, in.Close())
		require.NoError(b, s.cmd.Wait())
	})
	s.ask(b, "begin")
	pin(b, s.cmd.Process.Pid, serverCPU)
	return s
}

// ask returns when the server has done something.
func (s *served) ask(b *testing.B, what string) {
	_, err := fmt.Fprintln(s.in, what)
	require.NoError(b, err)
	line, err := s.out.ReadString('\n')
	require.NoError(b, err)
	require.Equal(b, what+" <nil>\n", line)
}

// serveForBench is the server's process: export with a device of its own, which it fills first and looks at when it is asked, until its
// input ends.
func serveForBench(dir string, in io.Reader, out io.Writer) error {
	dev, err := open.Device(fmt.Sprintf("malloc:%d?block=%d", servedSize, nvmetest.BlockSize), open.Options{Create: true})
	if err != nil {
		return err
	}
	block := make([]byte, nvmetest.BlockSize)
	for i := range writtenFrom {
		nvmetest.Number(block, uint64(i))
		if err := dev.Write(block, int64(i)*nvmetest.BlockSize); err != nil {
			return err
		}
	}
	storage := exportStorage{dev, func(string) {}}
	s, err := vfiouser.Listen(dir, vfiouser.Soft(exportConfig(storage, exportFlags{queues: 8})), vfiouser.ServerOptions{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	for asked := bufio.NewScanner(in); asked.Scan(); {
		if asked.Text() == "check" {
			err = checkWritten(dev)
		}
		fmt.Fprintln(out, asked.Text(), err)
	}
	cancel()
	return errors.Join(<-ended, s.Close(), storage.close())
}

// checkWritten looks at the blocks that the client has written.
func checkWritten(dev *bdev.Device) error {
	block := make([]byte, nvmetest.BlockSize)
	for i := writtenFrom; i < servedBlocks; i++ {
		if err := dev.Read(block, int64(i)*nvmetest.BlockSize); err != nil {
			return err
		}
		if !nvmetest.Numbered(block, uint64(i)) {
			return fmt.Errorf("block %d holds something else", i)
		}
	}
	return nil
}

// benchPingPong passes a word to and fro between two processes through shared memory, and returns the nanoseconds of a round trip.
func benchPingPong(b *testing.B) float64 {
	fd, err := unix.MemfdCreate("pingpong", unix.MFD_CLOEXEC)
	require.NoError(b, err)
	f := os.NewFile(uintptr(fd), "pingpong")
	defer f.Close()
	require.NoError(b, f.Truncate(4096))
	ping, pong, err := mapPingPong(fd)
	require.NoError(b, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+childPong)
	cmd.ExtraFiles = []*os.File{f}
	require.NoError(b, cmd.Start())
	for atomic.LoadUint64(pong) == 0 {
	}
	pin(b, cmd.Process.Pid, serverCPU)
	b.ResetTimer()
	for i := range uint64(b.N) {
		atomic.StoreUint64(ping, i+2)
		for atomic.LoadUint64(pong) != i+2 {
		}
	}
	b.StopTimer()
	require.NoError(b, cmd.Process.Kill())
	require.Error(b, cmd.Wait(), "it was killed")
	return perOp(b)
}

// perOp is in nanoseconds.
func perOp(b *testing.B) float64 { return float64(b.Elapsed().Nanoseconds()) / float64(b.N) }

// benchCopy copies blocks as the server does at depth 32, and returns the nanoseconds of one.
func benchCopy(b *testing.B) float64 {
	mem, err := dmabuf.NewRegion(servedSize)
	require.NoError(b, err)
	to := make([]byte, 32*nvmetest.BlockSize)
	for at := 0; at < servedSize; at += len(to) {
		copy(mem.Bytes()[at:], to) // so that all of it is there
	}
	rng := rand.New(rand.NewPCG(1, 2))
	b.ResetTimer()
	for i := range b.N {
		copy(to[i%32*nvmetest.BlockSize:][:nvmetest.BlockSize], mem.Bytes()[rng.IntN(servedBlocks)*nvmetest.BlockSize:])
	}
	b.StopTimer()
	require.NoError(b, mem.Free())
	return perOp(b)
}

// mapPingPong returns two words, far apart.
func mapPingPong(fd int) (ping, pong *uint64, err error) {
	m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return (*uint64)(unsafe.Pointer(&m[0])), (*uint64)(unsafe.Pointer(&m[2048])), nil
}

// answerPings says 1, and then what it is told, until it is killed.
func answerPings() error {
	ping, pong, err := mapPingPong(3) // the first of ExtraFiles
	if err != nil {
		return err
	}
	atomic.StoreUint64(pong, 1)
	for last := uint64(1); ; {
		if v := atomic.LoadUint64(ping); v != 0 && v != last {
			atomic.StoreUint64(pong, v)
			last = v
		}
	}
}

// pin keeps all threads of a process, and those that they start, on one processor.
func pin(b *testing.B, pid, cpu int) {
	var set unix.CPUSet
	set.Set(cpu)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	require.NoError(b, err)
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		require.NoError(b, err)
		require.NoError(b, unix.SchedSetaffinity(tid, &set))
	}
}

// processCPU is what a process has used of processors so far (proc(5), hundredths of a second).
func processCPU(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(b, err)
	_, rest, _ := strings.Cut(string(stat), ") ") // after the command's name
	total := time.Duration(0)
	for _, f := range strings.Fields(rest)[11:13] {
		n, err := strconv.Atoi(f)
		require.NoError(b, err)
		total += time.Duration(n) * 10 * time.Millisecond
	}
	return total
}
