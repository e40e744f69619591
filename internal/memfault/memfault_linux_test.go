package memfault

import (
	"errors"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestFault(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	require.NoError(t, unix.Ftruncate(fd, 8192))
	b, err := unix.Mmap(fd, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	p := make([]byte, 8192)
	require.NoError(t, Copy(b, p))
	require.NoError(t, unix.Ftruncate(fd, 4096))
	require.NoError(t, Copy(b[:4096], p))
	require.ErrorIs(t, Copy(b, p), ErrFault)
	require.ErrorIs(t, Copy(p, b), ErrFault)
	require.NoError(t, unix.Munmap(b))
	require.NoError(t, unix.Close(fd))
}

// TestMistake lets panics through that are mistakes of the program.
func TestMistake(t *testing.T) {
	mistake := errors.New("mistake")
	require.PanicsWithError(t, mistake.Error(), func() {
		var err error
		defer Recover(&err)
		panic(mistake)
	})
	require.Panics(t, func() {
		var err error
		defer Recover(&err)
		_ = []byte{}[len(t.Name())]
	})
}
