package delaybdev_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/bdev/delaybdev"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o crashbdev.Options) (*delaybdev.Backend, *bdev.Device) {
	o.Size = 1 << 20
	slow := delaybdev.New(crashbdev.New(o), 1)
	dev, err := bdev.New("slow", slow, bdev.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return slow, dev
}

// atLeast fails if fn is through earlier than that.
func atLeast(t *testing.T, d time.Duration, fn func() error) {
	t.Helper()
	start := time.Now()
	require.NoError(t, fn())
	require.GreaterOrEqual(t, time.Since(start), d)
}

func TestDelayPerOperation(t *testing.T) {
	for _, o := range []crashbdev.Options{{}, {SyncOps: bdev.Ops(bdev.OpRead, bdev.OpWrite, bdev.OpFlush)}} {
		slow, dev := open(t, o)
		slow.Set(bdev.OpRead, delaybdev.Latency{Typical: 3 * time.Millisecond})
		slow.Set(bdev.OpFlush, delaybdev.Latency{Typical: 6 * time.Millisecond})
		p := make([]byte, 4096)
		atLeast(t, 0, func() error { return dev.Write(p, 0) })
		atLeast(t, 3*time.Millisecond, func() error { return dev.Read(p, 0) })
		atLeast(t, 6*time.Millisecond, func() error { return dev.Flush() })
	}
}

func TestTail(t *testing.T) {
	slow, dev := open(t, crashbdev.Options{})
	slow.SetAll(delaybdev.Latency{Tail: 2 * time.Millisecond})
	var late int
	for range 1000 {
		start := time.Now()
		require.NoError(t, dev.Read(make([]byte, 512), 0))
		if time.Since(start) >= 2*time.Millisecond {
			late++
		}
	}
	// About 10 by the seed; a busy machine adds some, nothing takes any away.
	require.GreaterOrEqual(t, late, 5)
}

func TestConcurrent(t *testing.T) {
	slow, dev := open(t, crashbdev.Options{QueueDepth: 4})
	slow.SetAll(delaybdev.Latency{Typical: 100 * time.Microsecond, Tail: 2 * time.Millisecond})
	var wg sync.WaitGroup
	for i := range int64(16) {
		wg.Go(func() {
			p := []byte{511: byte(i)}
			for range 10 {
				if dev.Write(p, i*512) != nil || dev.Read(p, i*512) != nil || p[511] != byte(i) {
					t.Errorf("goroutine %d", i)
				}
			}
		})
	}
	wg.Wait()
}
