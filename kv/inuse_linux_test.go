package kv

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInUseByAnotherProcess opens a store that another process (this test binary) has open: the error names it, and
// once it is gone the store opens.
func TestInUseByAnotherProcess(t *testing.T) {
	device := "aio:" + image(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDeviceEnv+"="+device)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	_, err = bufio.NewReader(out).ReadString('\n') // it has written
	require.NoError(t, err)

	for _, o := range []*Options{nil, {ReadOnly: true}, {CreateIfMissing: true}} {
		_, err = Open(device, o)
		require.ErrorIs(t, err, ErrInUse)
		require.ErrorContains(t, err, fmt.Sprintf("in use by process %d (", cmd.Process.Pid))
		require.ErrorContains(t, err, "store.img")
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.NoError(t, openTest(t, device, nil).Close())
}
