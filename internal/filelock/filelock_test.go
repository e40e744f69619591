package filelock

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func openTwice(t *testing.T) (a, b *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	return open(), open()
}

func TestExclusion(t *testing.T) {
	cases := []struct {
		name          string
		first, second Mode
		excluded      bool
	}{
		{"two writers", Exclusive, Exclusive, true},
		{"reader after writer", Exclusive, Shared, true},
		{"writer after reader", Shared, Exclusive, true},
		{"two readers", Shared, Shared, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, b := openTwice(t)
			require.NoError(t, Lock(a.Fd(), c.first))
			err := Lock(b.Fd(), c.second)
			if !c.excluded {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrHeld)
			require.NoError(t, a.Close())
			require.NoError(t, Lock(b.Fd(), c.second), "the lock ends with its descriptor")
		})
	}
}

func TestHeldErrorText(t *testing.T) {
	require.Equal(t, "in use by process 12 (kvbench)", (&HeldError{PID: 12, Name: "kvbench"}).Error())
	require.Equal(t, "in use by process 12", (&HeldError{PID: 12}).Error())
	require.Equal(t, "in use by another process", (&HeldError{}).Error())
	require.Equal(t, "in use by this process", (&HeldError{PID: os.Getpid(), Name: "x"}).Error())
}
