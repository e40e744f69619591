package nvmebdev

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

// server serves a software controller over a socket, in this process.
type server struct {
	name string // of the controller
	stop func() // may be called twice
}

func serve(t *testing.T, cfg softctrl.Config) *server {
	t.Helper()
	if len(cfg.Namespaces) == 0 {
		ram, err := softctrl.NewRAM(rigSize, false)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, ram.Free()) })
		cfg.Namespaces = []softctrl.NamespaceConfig{{Storage: ram, BlockSize: 4096}}
	}
	dir := filepath.Join(t.TempDir(), "ctrl")
	s, err := vfiouser.Listen(dir, vfiouser.Soft(cfg), vfiouser.ServerOptions{Spin: 50 * time.Microsecond, Log: func(string) {}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-served)
		require.NoError(t, s.Close())
	})
	t.Cleanup(stop)
	return &server{name: "vfio-user:" + dir, stop: stop}
}

func openServed(t *testing.T, s *server, c Config) *bdev.Device {
	t.Helper()
	b, err := Open(s.name, c)
	require.NoError(t, err)
	d, err := bdev.New("nvme:"+s.name, b, bdev.Options{Policy: c.Policy})
	require.NoError(t, err)
	b.OnResize(d.Resized)
	return d
}

// TestConformanceOverSocket runs with interrupts (sleep) and without.
func TestConformanceOverSocket(t *testing.T) {
	for _, policy := range []bdev.Policy{bdev.PolicySleep, bdev.PolicyAdaptive} {
		t.Run(policy.String(), func(t *testing.T) {
			if testing.Short() && policy != bdev.PolicySleep {
				t.Skip("one policy is enough")
			}
			s := serve(t, softctrl.Config{Vectors: 8, WriteCache: true})
			bdevtest.Run(t, func(t *testing.T) *bdev.Device {
				return openServed(t, s, Config{Queues: 4, Policy: policy})
			})
		})
	}
}

// TestOneControllerPerProcess opens a controller that admits one client several times.
func TestOneControllerPerProcess(t *testing.T) {
	s := serve(t, softctrl.Config{})
	first := openServed(t, s, Config{})
	_, err := Open(s.name, Config{})
	require.ErrorIs(t, err, bdev.ErrInUse)
	_, err = Open(s.name, Config{Namespace: 9})
	require.Error(t, err)
	require.NoError(t, first.Write(block(4), 0))
	require.NoError(t, first.Close())

	reader := openServed(t, s, Config{ReadOnly: true})
	second := openServed(t, s, Config{ReadOnly: true, Namespace: 1})
	require.NoError(t, reader.Close())
	got := block(0)
	require.NoError(t, second.Read(got, 0))
	require.Equal(t, block(4), got)
	require.NoError(t, second.Close())
	require.Empty(t, owners.open)
}

// TestServerDies in the middle of requests: they end with bdev.ErrGone, and so does closing.
func TestServerDies(t *testing.T) {
	s := serve(t, softctrl.Config{})
	d := openServed(t, s, fast())
	var warm, wg sync.WaitGroup
	for i := range 3 {
		warm.Add(1)
		wg.Go(func() {
			var once sync.Once
			for {
				err := d.Write(block(byte(i)), int64(i)*4096)
				once.Do(warm.Done)
				if err != nil {
					require.ErrorIs(t, err, bdev.ErrGone)
					return
				}
			}
		})
	}
	warm.Wait()
	s.stop()
	wg.Wait()
	require.NoError(t, d.Close())
	require.Empty(t, owners.open)
}

// TestPoolBuffersAreShared wants the server to reach pool buffers where they are.
func TestPoolBuffersAreShared(t *testing.T) {
	s := serve(t, softctrl.Config{})
	d := openServed(t, s, Config{})
	pool := dmabuf.NewPool(1 << 20)
	p := pool.Get(8192)
	require.NoError(t, d.Write(p, 0))
	for o := range owners.open {
		require.True(t, owners.open[o].ctrl.Registered(p), "a pool buffer was bounced")
	}
	pool.Put(p)
	require.NoError(t, pool.Close())
	require.NoError(t, d.Close())
}
