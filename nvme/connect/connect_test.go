package connect

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/vfio"
)

func TestParse(t *testing.T) {
	here, err := filepath.Abs("dir")
	require.NoError(t, err)
	for name, want := range map[string]Target{
		"0000:01:00.0":  {PCI: "0000:01:00.0"},
		"01:00.0":       {PCI: "0000:01:00.0"},
		"0000:0a:1F.7":  {PCI: "0000:0a:1f.7"},
		"vfio-user:dir": {Socket: here},
	} {
		got, err := Parse(name)
		require.NoError(t, err, name)
		require.Equal(t, want, got)
		again, err := Parse(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for _, name := range []string{"", "nvme0", "vfio-user:", "01:00.8", "/dev/nvme0", "0000:01:00.0/1"} {
		_, err := Parse(name)
		require.ErrorIs(t, err, ErrName, name)
	}
}

func TestOpenWhatIsNotThere(t *testing.T) {
	tr, err := Target{Socket: filepath.Join(t.TempDir(), "nothing")}.Open(t.Context())
	require.Error(t, err)
	require.Nil(t, tr)
	tr, err = Target{PCI: "ffff:ff:1f.7"}.Open(t.Context())
	require.Nil(t, tr)
	require.True(t, errors.Is(err, vfio.ErrNotFound) || errors.Is(err, nvme.ErrUnsupported), "%v", err)
}
