package filelock

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHolderIsThisProcess(t *testing.T) {
	a, b := openTwice(t)
	require.NoError(t, Lock(a.Fd(), Exclusive))
	var held *HeldError
	require.ErrorAs(t, Lock(b.Fd(), Exclusive), &held)
	require.Equal(t, os.Getpid(), held.PID)
}

// TestHolderIsAnotherProcess runs this test binary as the other process; it locks the file it gets as descriptor 3.
func TestHolderIsAnotherProcess(t *testing.T) {
	if os.Getenv("FILELOCK_CHILD") != "" {
		if err := Lock(3, Exclusive); err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString("locked\n")
		os.Stdin.Read(make([]byte, 1)) // until the parent is done
		os.Exit(0)
	}
	a, b := openTwice(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestHolderIsAnotherProcess$")
	cmd.Env = append(os.Environ(), "FILELOCK_CHILD=1")
	cmd.ExtraFiles = []*os.File{a}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)

	var held *HeldError
	require.ErrorAs(t, Lock(b.Fd(), Exclusive), &held)
	require.Equal(t, cmd.Process.Pid, held.PID)
	require.NotEmpty(t, held.Name)
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
}

func TestFindOwner(t *testing.T) {
	const locks = `1: POSIX  ADVISORY  WRITE 100 fe:00:55 0 EOF
2: FLOCK  ADVISORY  WRITE 200 fe:00:66 0 EOF
2: -> FLOCK  ADVISORY  WRITE 201 fe:00:66 0 EOF
3: FLOCK  ADVISORY  READ  300 00:2a:77 0 EOF
4: FLOCK  ADVISORY  READ  0 fe:00:88 0 EOF
5: FLOCK  ADVISORY  READ  500 00:2a:99 0 EOF
6: FLOCK  ADVISORY  READ  600 00:2b:99 0 EOF
short line
`
	find := func(major, minor uint32, ino uint64) int {
		return findOwner(bufio.NewScanner(strings.NewReader(locks)), major, minor, ino)
	}
	require.Equal(t, 200, find(0xfe, 0, 66))
	require.Equal(t, 0, find(0xfe, 0, 55), "a POSIX lock is not a flock")
	require.Equal(t, 300, find(0xfe, 0, 77), "the only line with the inode, though the device differs")
	require.Equal(t, 0, find(0xfe, 0, 88), "an owner outside the namespace")
	require.Equal(t, 0, find(0xfe, 0, 99), "two files with one inode number")
	require.Equal(t, 600, find(0, 0x2b, 99))
	require.Equal(t, 0, find(0, 0, 1))
}
