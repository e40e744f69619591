package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/cmd/blobcli/internal/fusemount"
)

// childVariable makes the test binary be blobcli: a mount needs a process of its own, as one that maps files it serves
// itself stops for good, and one that is to be killed cannot be the test.
const childVariable = "BLOBCLI_TEST_CHILD"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(childVariable) {
	case "":
		os.Exit(m.Run())
	case childServe:
		err = serveForBench(os.Getenv("SERVED_DIR"), os.Stdin, os.Stdout)
	case childPong:
		err = answerPings()
	default:
		main()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailure)
	}
}

// mountPatience is how long a test waits for a mount to begin or end.
const mountPatience = 20 * time.Second

// mounted is a running blobcli mount.
type mounted struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	ended  chan struct{}
	stdout *bufio.Reader
	stderr *lockedBuffer
}

// requireFUSE skips a test where nothing can be mounted and says why.
func requireFUSE(t *testing.T) {
	t.Helper()
	if err := fusemount.Precheck(t.TempDir()); err != nil {
		t.Skip(err)
	}
}

// childCommand is a command line of blobcli as a process of its own.
func childCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	return cmd
}

// startMount mounts a device on a new directory and waits until it is usable.
func startMount(t *testing.T, device string, flags ...string) *mounted {
	t.Helper()
	requireFUSE(t)
	m := &mounted{t: t, dir: t.TempDir(), ended: make(chan struct{}), stderr: &lockedBuffer{}}
	m.cmd = childCommand(append([]string{"-d", device, "mount", m.dir}, flags...)...)
	m.cmd.Stderr = m.stderr
	out, err := m.cmd.StdoutPipe()
	require.NoError(t, err)
	m.stdout = bufio.NewReader(out)
	require.NoError(t, m.cmd.Start())
	t.Cleanup(m.cleanup)
	line, err := m.stdout.ReadString('\n')
	require.NoError(t, err, "%s", m.stderr)
	require.Contains(t, line, m.dir)
	go func() {
		_, _ = io.Copy(io.Discard, m.stdout)
		_ = m.cmd.Wait() // tests look at the exit code
		close(m.ended)
	}()
	return m
}

// path is a path on the mount.
func (m *mounted) path(name string) string { return filepath.Join(m.dir, name) }

// end waits for the process and returns its exit code.
func (m *mounted) end() int {
	m.t.Helper()
	select {
	case <-m.ended:
		return m.cmd.ProcessState.ExitCode()
	case <-time.After(mountPatience):
		m.t.Fatalf("blobcli mount does not end: %s", m.stderr)
		return -1
	}
}

// interrupt is a Ctrl-C that has to end the mount.
func (m *mounted) interrupt() {
	m.t.Helper()
	require.NoError(m.t, m.cmd.Process.Signal(os.Interrupt))
	require.Equal(m.t, exitOK, m.end(), "%s", m.stderr)
}

// kill ends the process at once and removes the mount it leaves.
func (m *mounted) kill() {
	m.t.Helper()
	require.NoError(m.t, m.cmd.Process.Kill())
	m.end()
	m.forget()
}

// forget unmounts what a process that is gone left.
func (m *mounted) forget() {
	if os.Geteuid() != 0 {
		_ = exec.Command("fusermount3", "-u", "-z", m.dir).Run()
		return
	}
	_ = syscall.Unmount(m.dir, syscall.MNT_DETACH)
}

// cleanup leaves nothing mounted, whatever the test did.
func (m *mounted) cleanup() {
	select {
	case <-m.ended:
	default:
		_ = m.cmd.Process.Kill()
		m.forget()
	}
	if m.t.Failed() {
		m.t.Logf("blobcli mount: %s", m.stderr)
	}
}

// lockedBuffer is a bytes.Buffer for two goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// waitFor waits until the buffer holds a text.
func (b *lockedBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(b.String(), text) }, mountPatience, 10*time.Millisecond, "%q in %q", text, b)
}

// shell runs a program of the system, which the test is skipped without.
func shell(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
}

// requireClean demands that blobcli check finds nothing.
func requireClean(t *testing.T, device string) {
	t.Helper()
	ok(t, "-d", device, "check")
}
