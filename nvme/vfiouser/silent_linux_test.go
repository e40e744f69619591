package vfiouser

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestOpenIsGivenUp ends the context of Open while a server says nothing: at the first message, and in the line of connections.
func TestOpenIsGivenUp(t *testing.T) {
	checkFDs(t)
	path := filepath.Join(t.TempDir(), "silent")
	server, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(server)
	require.NoError(t, unix.Bind(server, &unix.SockaddrUnix{Name: path}))
	require.NoError(t, unix.Listen(server, 0)) // one waits in line
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan error, 1)
	go func() {
		fd, _, err := unix.Accept(server)
		if err == nil {
			_, err = unix.Read(fd, make([]byte, 1))
			cancel()
			for n := 1; n > 0; { // until the client goes
				n, _ = unix.Read(fd, make([]byte, 512))
			}
			_ = unix.Close(fd)
		}
		heard <- err
	}()
	_, err = Open(path, Options{Context: ctx, Timeout: time.Hour})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, <-heard)

	first, err := dial(path)
	require.NoError(t, err)
	defer unix.Close(first)
	_, err = dial(path)
	require.ErrorIs(t, err, unix.EAGAIN)
	_, err = Open(path, Options{Context: ctx, Timeout: time.Hour})
	require.ErrorIs(t, err, context.Canceled)
}

// TestSilentClient connects and says nothing: that does not keep the next client out for long.
func TestSilentClient(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{Timeout: 100 * time.Millisecond})
	silent, err := dial(v.Path())
	require.NoError(t, err)
	defer unix.Close(silent)
	require.Contains(t, v.wait(t, "client gone"), "has not said its version")
	c := open(t, v)
	time.Sleep(300 * time.Millisecond)
	_, err = c.Load64(0)
	require.NoError(t, err, "one that has said it may be silent")
}

// TestInsistentClient is refused several times, of which the log speaks once.
func TestInsistentClient(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	for range 2 {
		c := open(t, v)
		for range 3 {
			_, err := Open(v.Path(), Options{})
			require.ErrorIs(t, err, ErrInUse)
		}
		require.Equal(t, 1, v.said("client refused"))
		require.NoError(t, c.Close())
		v.wait(t, "client gone")
	}
}

// TestLongNameOfNothing: a name that is too long for an address and means nothing is not there, as a short one.
func TestLongNameOfNothing(t *testing.T) {
	for _, n := range []int{1, 120} {
		_, err := Open(filepath.Join(t.TempDir(), strings.Repeat("x", n)), Options{})
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, "no server has its socket there")
	}
}
