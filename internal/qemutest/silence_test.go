package qemutest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeQEMU in the environment makes this program a QEMU whose guest passes one test.
const fakeQEMU = "QEMUTEST_FAKE"

func TestMain(m *testing.M) {
	if os.Getenv(fakeQEMU) == "" {
		os.Exit(m.Run())
	}
	if err := runFakeQEMU(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runFakeQEMU() error {
	port, err := dialChardev("port")
	if err != nil {
		return err
	}
	qmp, err := dialChardev("qmp")
	if err != nil {
		return err
	}
	if _, err := bufio.NewReader(qmp).ReadString('\n'); err != nil {
		return err
	}
	fmt.Fprintln(qmp, `{"QMP":{}}`)
	fmt.Fprintln(qmp, `{"return":{}}`)
	_, err = fmt.Fprintf(port, "=== RUN   TestX\n--- PASS: TestX (0.00s)\n%s0\n", wordExit)
	return err
}

func dialChardev(id string) (net.Conn, error) {
	for _, arg := range os.Args {
		if path, ok := strings.CutPrefix(arg, "socket,id="+id+",path="); ok {
			return net.Dial("unix", path)
		}
	}
	return nil, fmt.Errorf("no chardev %s in %q", id, os.Args)
}

// bootScript boots with a shell script in the place of QEMU, in which $SELF is the fake.
func bootScript(t *testing.T, script string, silence time.Duration) (*Result, error) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "qemu")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\nSELF='"+self+"'\nexport "+fakeQEMU+"=1\n"+script), 0o700))
	m := &Image{tools: Tools{QEMU: path}}
	return m.Boot(t.Context(), Config{Silence: silence})
}

// TestSilentMachine starts a machine once more that prints nothing, and no third time.
func TestSilentMachine(t *testing.T) {
	const silence = 200 * time.Millisecond
	mark := filepath.Join(t.TempDir(), "started")
	// The second machine is given all the time that it takes to print.
	r, err := bootScript(t, "mkdir '"+mark+"' && { echo stuck >&2; exec sleep 600; }\nexec \"$SELF\" \"$@\"\n", 5*time.Second)
	require.NoError(t, err)
	require.Equal(t, []Test{{"TestX", "PASS", "0.00s", ""}}, r.Tests)
	require.Zero(t, r.Exit)
	require.ErrorIs(t, r.Again, errSilent)
	for _, found := range []string{waitsPort, "signal: killed", "stuck"} {
		require.ErrorContains(t, r.Again, found)
	}

	r, err = bootScript(t, "echo again >>'"+mark+"/times'; exec sleep 600\n", silence)
	require.ErrorIs(t, err, ErrGuest)
	require.ErrorIs(t, err, errSilent)
	require.ErrorIs(t, r.Again, errSilent)
	times, err := os.ReadFile(filepath.Join(mark, "times"))
	require.NoError(t, err)
	require.Equal(t, "again\nagain\n", string(times))
}

// TestMachineThatSpeaks is not started once more: not after its kernel has printed, nor when QEMU refuses to start.
func TestMachineThatSpeaks(t *testing.T) {
	speaks := `for arg; do case $arg in file,id=console,path=*) echo panic >"${arg#file,id=console,path=}"; esac; done; sleep 1; exit 3` + "\n"
	r, err := bootScript(t, speaks, 500*time.Millisecond)
	require.ErrorIs(t, err, ErrGuest)
	require.NotErrorIs(t, err, errSilent)
	require.NoError(t, r.Again)
	require.Contains(t, r.Console, "panic")

	r, err = bootScript(t, "echo bad option >&2; exit 1\n", time.Minute)
	require.ErrorContains(t, err, "bad option")
	require.NotErrorIs(t, err, errSilent)
	require.NoError(t, r.Again)
}
