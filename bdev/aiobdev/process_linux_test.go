package aiobdev

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

// TestKilledOwner has another process (this test binary) use an image and kills it in the middle of its writes.
func TestKilledOwner(t *testing.T) {
	if path := os.Getenv("AIOBDEV_CHILD"); path != "" {
		writeForever(t, path)
	}
	path := filepath.Join(t.TempDir(), "image")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledOwner$")
	cmd.Env = append(os.Environ(), "AIOBDEV_CHILD="+path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)

	_, err = Open(path, Options{ReadOnly: true})
	require.ErrorIs(t, err, bdev.ErrInUse)
	require.ErrorContains(t, err, fmt.Sprintf("in use by process %d (", cmd.Process.Pid))
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())

	b := openImage(t, path, Options{})
	require.EqualValues(t, testSize, b.size.Load())
	verifyIO(t, b)
}

// writeForever keeps a queue full until the process is killed. It prints a line when the image is in use.
func writeForever(t *testing.T, path string) {
	q := openQueue(t, openImage(t, path, Options{Create: true, Size: testSize}))
	rs := make([]*bdev.Request, 16)
	for i := range rs {
		rs[i] = transfer(bdev.OpWrite, int64(i*testBlock), randomBuffer(t, testBlock, uint64(i)))
	}
	runAll(t, q, rs...)
	fmt.Println("writing")
	for {
		runAll(t, q, rs...)
	}
}
