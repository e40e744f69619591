package vfiouser

import (
	"context"
	"io"
	"net"
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
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			cancel()
			_, _ = io.Copy(io.Discard, conn) // until the client goes
			_ = conn.Close()
		}
		heard <- err
	}()
	_, err = Open(path, Options{Context: ctx, Timeout: time.Hour})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, <-heard)

	var line []int
	for err = nil; err == nil; {
		var fd int
		if fd, err = dial(path); err == nil {
			line = append(line, fd)
		}
	}
	require.ErrorIs(t, err, unix.EAGAIN)
	_, err = Open(path, Options{Context: ctx, Timeout: time.Hour})
	require.ErrorIs(t, err, context.Canceled)
	for _, fd := range line {
		require.NoError(t, unix.Close(fd))
	}
	require.NoError(t, l.Close())
}
