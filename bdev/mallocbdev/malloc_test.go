package mallocbdev

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, c Config, o bdev.Options) *bdev.Device {
	b, err := New(c)
	require.NoError(t, err)
	d, err := bdev.New("malloc:test", b, o)
	require.NoError(t, err)
	return d
}

func TestConformance(t *testing.T) {
	for _, blockSize := range []int{512, 4096} {
		t.Run(fmt.Sprint(blockSize), func(t *testing.T) {
			bdevtest.Run(t, func(t *testing.T) *bdev.Device {
				return open(t, Config{Size: 16 << 20, BlockSize: blockSize}, bdev.Options{})
			})
		})
	}
}

func TestNoAllocations(t *testing.T) {
	d := open(t, Config{Size: 16 << 20}, bdev.Options{})
	bdevtest.NoAllocations(t, d)
	require.NoError(t, d.Close())
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []Config{{}, {Size: -4096}, {Size: 1000}, {Size: 4096, BlockSize: 100}, {Size: 1 << 20, BlockSize: 3072}} {
		_, err := New(c)
		require.ErrorIs(t, err, bdev.ErrInvalid, "%+v", c)
	}
}
