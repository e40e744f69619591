package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestInterruptOfSilentServer wants an interrupt to end every command at once that waits for a server which says nothing.
func TestInterruptOfSilentServer(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "cntrl"))
	require.NoError(t, err)
	defer l.Close()
	controller := "vfio-user:" + dir
	for _, args := range [][]string{
		{"nvme", "identify", controller},
		{"-d", "nvme:" + controller, "bdev", "info"},
		{"-d", "nvme:" + controller, "bdev", "perf"},
		{"-d", "nvme:" + controller, "check"},
		{"-d", "nvme:" + controller, "init"},
		{"-d", "nvme:" + controller, "bdev", "export", "--vfio-user", filepath.Join(t.TempDir(), "again")},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var out buffer
		code := make(chan int, 1)
		go func() { code <- run(ctx, args, nil, &out, &out) }()
		conn, err := l.Accept()
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 1))
		require.NoError(t, err)
		cancel()
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second))) // half of what the client would wait
		_, err = io.Copy(io.Discard, conn)
		require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "%v waits on", args)
		require.NoError(t, conn.Close())
		require.Equal(t, exitInterrupted, <-code, "%v", args)
		require.Equal(t, "blobcli: interrupted\n", out.String(), "%v", args)
	}
}
