package kv

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev/crashbdev"
)

// fatalEnv makes the test binary the program whose device dies.
const fatalEnv = "BLOBKV_FATAL"

// fatalChild writes to a device that dies under it.
func fatalChild() int {
	disk := crashbdev.New(crashbdev.Options{BlockSize: 4096})
	dev, err := disk.Open("dying")
	if err != nil {
		return 3
	}
	o := &Options{CreateIfMissing: true}
	db, err := openOn(dev, o.withDefaults())
	if err != nil {
		return 3
	}
	if err := db.Set(key(1), value(1, 10)); err != nil {
		return 3
	}
	disk.CutAfter(3)
	for i := 0; ; i++ {
		if err := db.Set(key(i), value(i, 100)); err != nil {
			fmt.Println("Set:", err)
			return 4
		}
	}
}

// TestDeviceDies checks what the package documentation says about a log that cannot be written: no write is
// acknowledged or refused any more, the process ends, and its last words name the device's error.
func TestDeviceDies(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fatalEnv+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 2, exit.ExitCode(), "%s", out)
	require.Contains(t, string(out), "kv: the engine cannot continue")
	require.Contains(t, string(out), "powered off")
}
