package vfiouser

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
)

// Roles of this test binary when it is started again as the other process.
const (
	roleEnv    = "VFIOUSER_ROLE"
	dirEnv     = "VFIOUSER_DIR"
	roleServer = "server"
	roleClient = "client"
	roleSoft   = "soft" // serves a software controller
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := play(role, os.Getenv(dirEnv)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// play says "ready" and goes on until it is killed.
func play(role, dir string) error {
	if run, ok := roles[role]; ok {
		return run(dir)
	}
	return fmt.Errorf("unknown role %q", role)
}

var roles = map[string]func(dir string) error{
	roleSoft: serveSoft,
	roleServer: func(dir string) error {
		s, err := Listen(dir, newFake(), ServerOptions{})
		if err != nil {
			return err
		}
		fmt.Println("ready")
		return s.Serve(context.Background())
	},
	roleClient: func(dir string) error {
		c, err := Open(dir, Options{})
		if err != nil {
			return err
		}
		return copyForEver(c, func() { fmt.Println("ready") })
	},
}

// copyForEver keeps the device busy.
func copyForEver(c *Client, ready func()) error {
	ring, err := c.Alloc(ringSize * descSize)
	if err != nil {
		return err
	}
	buf, err := c.Alloc(1 << 20)
	if err != nil {
		return err
	}
	if err := c.Store64(regRing, ring.IOVA); err != nil {
		return err
	}
	if err := c.Store32(regCC, 1); err != nil {
		return err
	}
	r := &hostRing{mem: ring.Bytes, door: (*uint32)(unsafe.Pointer(&c.Window(barRegisters, 4)[0]))}
	for i := 0; ; i++ {
		status := r.start(buf.IOVA, buf.IOVA+512<<10, 512<<10)
		for atomic.LoadUint64(status) == 0 {
			if err := c.link.gone(); err != nil {
				return err
			}
		}
		if i == 10 {
			ready()
		}
	}
}

// spawn starts this test binary in a role and waits until it is ready.
func spawn(t testing.TB, role, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, dirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready", strings.TrimSpace(line))
	return cmd
}

// kill is kill -9.
func kill(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
}

// TestKillServer kills the server under a busy client: every call of the client fails, none hangs. A new server takes the socket
// that the dead one left.
func TestKillServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	for range 3 {
		func() {
			srv := spawn(t, roleServer, dir)
			c, err := Open(dir, Options{})
			require.NoError(t, err)
			defer c.Close()
			busy := make(chan error, 1)
			go func() { busy <- copyForEver(c, func() {}) }()
			for range 100 {
				_, err := c.Load32(0)
				require.NoError(t, err)
			}
			kill(t, srv)
			require.ErrorIs(t, <-busy, nvme.ErrGone)
			_, err = c.Load32(0)
			require.ErrorIs(t, err, nvme.ErrGone)
			require.FileExists(t, filepath.Join(dir, socketName))
			_, err = Open(dir, Options{})
			require.ErrorIs(t, err, nvme.ErrGone)
		}()
	}
}

// TestKillClient kills a client that keeps the device busy; the next one gets a fresh controller.
func TestKillClient(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	for range 3 {
		cmd := spawn(t, roleClient, v.dir)
		_, err := Open(v.dir, Options{})
		require.ErrorIs(t, err, ErrInUse)
		kill(t, cmd)
		v.wait(t, "client gone")
		c, err := Open(v.dir, Options{})
		require.NoError(t, err)
		r := newRing(t, c)
		a, err := c.Alloc(4096)
		require.NoError(t, err)
		copy(a.Bytes, "alive")
		require.EqualValues(t, statusDone, r.copy(t, a.IOVA, a.IOVA+100, 5))
		require.Equal(t, "alive", string(a.Bytes[100:105]))
		require.NoError(t, c.Close())
		v.wait(t, "client gone")
	}
	require.False(t, v.fake.attached.Load())
	require.EqualValues(t, 6, v.Stats().Sessions)
}
