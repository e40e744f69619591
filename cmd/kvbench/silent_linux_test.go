package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEngineOfSilentServer wants an engine to end with its input while it waits for a server which says nothing.
func TestEngineOfSilentServer(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "cntrl"))
	require.NoError(t, err)
	defer l.Close()
	cfg := testConfig()
	cfg.Engine, cfg.Compression = engineBlobKV, "none"
	cfg.Place, err = locate("nvme:vfio-user:" + dir)
	require.NoError(t, err)
	p, err := startProcess("blobkv", io.Discard)
	require.NoError(t, err)
	cancelled, called := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := p.call(cancelled, request{Op: opPrepare, Config: cfg, Benchmark: "fillseq", Create: true}, func(progress) {})
		called <- err
	}()
	require.NoError(t, l.(*net.UnixListener).SetDeadline(time.Now().Add(20*time.Second)))
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)
	close(cancelled)
	require.ErrorIs(t, <-called, errCancelled)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second))) // half of what the client would wait
	_, err = io.Copy(io.Discard, conn)
	require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the engine waits on")
	require.Error(t, p.close())
}
