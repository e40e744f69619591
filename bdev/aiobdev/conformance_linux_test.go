package aiobdev

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
)

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		policy    bdev.Policy
		blockSize int
	}{{bdev.PolicyAdaptive, 512}, {bdev.PolicySleep, 4096}} {
		t.Run(c.policy.String(), func(t *testing.T) {
			bdevtest.Run(t, func(t *testing.T) *bdev.Device {
				return openDevice(t, Options{BlockSize: c.blockSize}, bdev.Options{Policy: c.policy})
			})
		})
	}
}

// TestConformanceOfAShallowQueue makes full queues the rule, on two shared channels that are polled without sleep.
func TestConformanceOfAShallowQueue(t *testing.T) {
	bdevtest.Run(t, func(t *testing.T) *bdev.Device {
		return openDevice(t, Options{QueueDepth: 2}, bdev.Options{Channels: 2, Policy: bdev.PolicyPoll})
	})
}

// TestConformanceBuffered is a file system without O_DIRECT. It keeps the alignment rules, so that they are tested on
// both sides of the core.
func TestConformanceBuffered(t *testing.T) {
	bdevtest.Run(t, func(t *testing.T) *bdev.Device {
		b := conformanceImage(t, Options{})
		require.NoError(t, setDirect(b.fd, false))
		return newDevice(t, b, bdev.Options{})
	})
}

func openDevice(t *testing.T, o Options, core bdev.Options) *bdev.Device {
	t.Helper()
	return newDevice(t, conformanceImage(t, o), core)
}

func newDevice(t *testing.T, b *Backend, core bdev.Options) *bdev.Device {
	t.Helper()
	d, err := bdev.New("aio:"+b.path, b, core)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// conformanceImage makes an image; the device that gets it closes it.
func conformanceImage(t *testing.T, o Options) *Backend {
	t.Helper()
	o.Create, o.Size = true, bdevtest.MinSize
	b, err := Open(filepath.Join(t.TempDir(), "image"), o)
	require.NoError(t, err)
	return b
}
