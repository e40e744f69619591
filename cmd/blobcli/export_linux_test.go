package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

// TestExportStorage writes and reads whole blocks, and compares with memory.
func TestExportStorage(t *testing.T) {
	const bs, size = 4096, 1 << 20
	dev, err := open.Device("malloc:1MiB?block=4096", open.Options{Create: true})
	require.NoError(t, err)
	var said []string
	s := exportStorage{dev, func(text string) { said = append(said, text) }}
	require.EqualValues(t, size, s.Size())
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	want := make([]byte, size)
	for range 500 {
		at := rng.IntN(size / bs)
		n := 1 + rng.IntN(min(8, size/bs-at))
		part := want[at*bs : (at+n)*bs]
		switch rng.IntN(3) {
		case 0:
			clear(part)
			require.NoError(t, s.Discard(int64(at*bs), int64(n*bs)))
		case 1:
			for i := range part {
				part[i] = byte(rng.Uint32())
			}
			got, err := s.WriteAt(part, int64(at*bs))
			require.NoError(t, err)
			require.Equal(t, len(part), got)
		}
		p := make([]byte, len(part))
		got, err := s.ReadAt(p, int64(at*bs))
		require.NoError(t, err)
		require.Equal(t, len(p), got)
		require.True(t, bytes.Equal(part, p))
	}
	n, err := s.WriteAt(make([]byte, 2*bs), size-bs)
	require.ErrorIs(t, err, bdev.ErrOutOfRange)
	require.Zero(t, n)
	require.Equal(t, []string{err.Error()}, said)
	require.ErrorIs(t, s.told(fmt.Errorf("write: %w", bdev.ErrNoSpace)), softctrl.ErrNoSpace)
	require.NoError(t, s.Flush())
	require.NoError(t, s.close())
}

// buffer is an output that is looked at while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestExport serves an image file, uses it with the driver, and ends as Ctrl-C does it.
func TestExport(t *testing.T) {
	image, dir := filepath.Join(t.TempDir(), "disk.img"), filepath.Join(t.TempDir(), "dev")
	data := bytes.Repeat([]byte("over the socket "), 512)
	end := func(name string, args []string, use func()) {
		ctx, cancel := context.WithCancel(context.Background())
		var out, complaints buffer
		code := make(chan int, 1)
		go func() { code <- run(ctx, args, nil, &out, &complaints) }()
		require.Eventually(t, func() bool {
			return bytes.Contains([]byte(out.String()), []byte("clients name it nvme:vfio-user:"+dir+"."))
		}, 20*time.Second, time.Millisecond, "%s: %v", name, &complaints)
		use()
		cancel()
		require.Equal(t, exitOK, <-code, "%s: %s", name, complaints.String())
		require.NoFileExists(t, filepath.Join(dir, "cntrl"), name)
		require.Contains(t, complaints.String(), "client connected")
	}
	device := "file:" + image + "?size=16MiB"
	end("writable", []string{"bdev", "export", device, "--vfio-user", dir}, func() {
		var second buffer
		require.Equal(t, exitInUse, run(context.Background(), []string{"bdev", "export", "malloc:1MiB", "--vfio-user", dir}, nil, &second, &second))
		c, q, mem := exportClient(t, dir)
		copy(mem, data)
		require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpWrite, NS: c.Namespaces()[0], LBA: 1, Buf: mem[:len(data)]}))
		require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpFlush, NS: c.Namespaces()[0]}))
		require.ErrorIs(t, c.Format(1, nvme.FormatOptions{}), nvme.ErrUnsupported)
		_, err := c.CreateNamespace(1000, 0, 0)
		require.ErrorIs(t, err, nvme.ErrUnsupported, "a client is not to fill the server's memory")
		require.NoError(t, c.Close())
	})
	b, err := os.ReadFile(image)
	require.NoError(t, err)
	require.Len(t, b, 16<<20)
	require.Contains(t, string(b[:64<<10]), string(data))
	end("read-only", []string{"-d", device, "bdev", "export", "--read-only", "--vfio-user", dir}, func() {
		c, q, mem := exportClient(t, dir)
		require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpRead, NS: c.Namespaces()[0], LBA: 1, Buf: mem[:len(data)]}))
		require.Equal(t, data, mem[:len(data)])
		require.Error(t, q.Do(&nvme.Request{Op: nvme.OpWrite, NS: c.Namespaces()[0], LBA: 1, Buf: mem[:len(data)]}))
		require.NoError(t, c.Close())
		require.Equal(t, exitRefused, blobcli("", "-d", "nvme:vfio-user:"+dir, "bdev", "perf", "--rw", "write", "--time", "1s", "--force").code)
	})
}

func exportClient(t *testing.T, dir string) (*nvme.Controller, *nvme.Queue, []byte) {
	t.Helper()
	tr, err := vfiouser.Open(dir, vfiouser.Options{})
	require.NoError(t, err)
	c, err := nvme.Open(tr, nvme.Options{Queues: 1})
	require.NoError(t, err)
	q, err := c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	mem, err := c.Alloc(64 << 10)
	require.NoError(t, err)
	return c, q, mem
}

func TestExportUsage(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cntrl"), []byte("not a socket"), 0o600))
	for _, c := range []struct {
		code int
		args []string
	}{
		{exitUsage, []string{"bdev", "export", "malloc:1MiB"}},
		{exitUsage, []string{"bdev", "export", "--vfio-user", dir}},
		{exitUsage, []string{"bdev", "export", "malloc:1MiB", "--vfio-user", dir, "--queues", "0"}},
		{exitUsage, []string{"-d", "malloc:2MiB", "bdev", "export", "malloc:1MiB", "--vfio-user", dir}},
		{exitFailure, []string{"bdev", "export", "malloc:1MiB", "--vfio-user", dir}},
	} {
		var out buffer
		require.Equal(t, c.code, run(context.Background(), c.args, nil, &out, &out), "%v: %s", c.args, out.String())
	}
}
