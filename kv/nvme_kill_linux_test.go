package kv

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

// serveEnv makes the test binary a process that serves a file as an NVMe controller: "image:folder".
const serveEnv = "BLOBKV_SERVE"

// serveChild serves until it is killed.
func serveChild(what string) int {
	image, dir, _ := strings.Cut(what, ":")
	err := serveImage(image, dir)
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func serveImage(image, dir string) error {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	s, err := vfiouser.Listen(dir, vfiouser.Soft(softctrl.Config{
		WriteCache: true, Namespaces: []softctrl.NamespaceConfig{{Storage: fileStorage{f, st.Size()}, BlockSize: 4096}},
	}), vfiouser.ServerOptions{})
	if err != nil {
		return err
	}
	fmt.Println("serves")
	return s.Serve(context.Background())
}

// fileStorage is a file as the storage of a software controller.
type fileStorage struct {
	*os.File
	size int64
}

func (s fileStorage) Size() int64  { return s.size }
func (s fileStorage) Flush() error { return s.Sync() }
func (s fileStorage) Discard(offset, n int64) error {
	_, err := s.WriteAt(make([]byte, n), offset)
	return err
}

func startServer(t *testing.T, image, dir string) *exec.Cmd {
	t.Helper()
	cmd, out := startChild(t, serveEnv+"="+image+":"+dir, os.Stderr)
	_, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd
}

// TestNVMeKill kills a process that writes to a controller of another process, or that other process, by turns and at random
// times. Who is left comes to an end, or serves the next one; what was acknowledged is there.
func TestNVMeKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	image, dir := filepath.Join(t.TempDir(), "disk.img"), filepath.Join(t.TempDir(), "ctrl")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 256<<20))
	device := "nvme:vfio-user:" + dir
	server := startServer(t, image, dir)
	total := 0
	for round := range 8 {
		w := startWriter(t, device)
		victim := []*exec.Cmd{w.cmd, server}[round%2]
		timer := time.AfterFunc(time.Duration(100+rng.IntN(400))*time.Millisecond, func() { _ = victim.Process.Kill() })
		acked, ran := w.wait(t)
		timer.Stop()
		total += ran
		if victim == server {
			require.Contains(t, w.stderr.String(), "controller is gone")
			require.Error(t, server.Wait(), "killed")
			server = startServer(t, image, dir)
		}
		checkKilled(t, device, acked, round)
	}
	require.Positive(t, total, "the child never got to write")
	require.NoError(t, server.Process.Kill())
	require.Error(t, server.Wait())
}
