package vfiouser

import (
	"context"
	"path/filepath"
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
