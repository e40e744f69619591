package filebdev

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	bdevtest.Run(t, func(t *testing.T) *bdev.Device {
		path := filepath.Join(t.TempDir(), "image")
		b, err := Open(path, Config{Create: true, Size: 16 << 20, BlockSize: 512})
		require.NoError(t, err)
		d, err := bdev.New("file:"+path, b, bdev.Options{})
		require.NoError(t, err)
		return d
	})
}

func TestTruncatedByAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	b, err := Open(path, Config{Create: true, Size: 1 << 20})
	require.NoError(t, err)
	d, err := bdev.New("file:"+path, b, bdev.Options{})
	require.NoError(t, err)
	require.NoError(t, b.f.Truncate(10000))
	require.ErrorIs(t, d.Read(make([]byte, 4096), 8192), bdev.ErrIO)
	require.NoError(t, d.Close())
}
