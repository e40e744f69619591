package kv

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// killDeviceEnv makes the test binary the program that is killed: it opens the store it names and writes until it dies.
const killDeviceEnv = "BLOBKV_KILL_DEVICE"

// killChild writes counters, each synced before it is printed. Every tenth is a batch of many
// keys, and the memtable is small, so that logs rotate, flush and compact all the time.
func killChild(device string) int {
	db, err := Open(device, &Options{CreateIfMissing: true, MemTableSize: minMemTableSize})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	next := uint64(0)
	if v, err := db.Get([]byte("next")); err == nil {
		next = binary.BigEndian.Uint64(v)
	}
	for ; ; next++ {
		if err := killStep(db, next); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(next)
	}
}

// killStep is one acknowledged write: a batch of the counter and its rows.
func killStep(db *DB, n uint64) error {
	b := db.NewBatch()
	defer b.Close()
	if err := b.Set([]byte("next"), binary.BigEndian.AppendUint64(nil, n+1)); err != nil {
		return err
	}
	for row := range killRows(n) {
		if err := b.Set(killKey(n, row), killValue(n, row)); err != nil {
			return err
		}
	}
	return b.Commit()
}

func killRows(n uint64) int {
	if n%10 == 0 {
		return 30
	}
	return 1
}

// killKey comes back every 500 steps: the newest value must be there.
func killKey(n uint64, row int) []byte { return fmt.Appendf(nil, "row/%03d/%02d", n%500, row) }

func killValue(n uint64, row int) []byte { return noise(rand.New(rand.NewPCG(n, uint64(row))), 500) }

// TestKill kills a process that writes, again and again, at random times, and reads what it had acknowledged.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	device := image(t)
	total := 0
	for round := range 8 {
		acked, ran := runAndKill(t, device, time.Duration(50+rng.IntN(400))*time.Millisecond)
		total += ran
		checkKilled(t, device, acked, round)
	}
	require.Positive(t, total, "the child never got to write")
}

// runAndKill returns the last counter that the child printed, and how many it printed.
func runAndKill(t *testing.T, device string, after time.Duration) (acked int64, ran int) {
	t.Helper()
	w := startWriter(t, device)
	timer := time.AfterFunc(after, func() { _ = w.cmd.Process.Kill() })
	defer timer.Stop()
	acked, ran = w.wait(t)
	require.Empty(t, w.stderr.String())
	return acked, ran
}

// writer is a process that runs killChild.
type writer struct {
	cmd    *exec.Cmd
	out    io.Reader
	stderr strings.Builder
}

func startWriter(t *testing.T, device string) *writer {
	t.Helper()
	w := new(writer)
	w.cmd, w.out = startChild(t, killDeviceEnv+"="+device, &w.stderr)
	return w
}

// startChild runs the test binary as what a variable of its environment makes of it.
func startChild(t *testing.T, env string, stderr io.Writer) (cmd *exec.Cmd, out io.Reader) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // where the test has not
	return cmd, out
}

// wait returns when the process has ended: the last counter that it printed, -1 without any, and how many it printed.
func (w *writer) wait(t *testing.T) (acked int64, ran int) {
	t.Helper()
	acked = -1
	lines := bufio.NewScanner(w.out)
	for lines.Scan() {
		var n int64
		if c, err := fmt.Sscan(lines.Text(), &n); c == 1 && err == nil {
			acked, ran = n, ran+1
		}
	}
	require.Error(t, w.cmd.Wait(), "it never ends by itself")
	return acked, ran
}

// checkKilled checks and opens what the child left: everything acknowledged is there, each step as a whole. What it
// closes is clean again.
func checkKilled(t *testing.T, device string, acked int64, round int) {
	t.Helper()
	if _, err := os.Stat(strings.Split(device, "?")[0]); acked < 0 && err != nil {
		return // killed before it had made the image
	}
	if acked >= 0 { // before that there may be no store yet
		requireCleanImage(t, device)
	}
	db := openTest(t, device, &Options{CreateIfMissing: true})
	defer func() {
		require.NoError(t, db.Close())
		requireCleanImage(t, device)
	}()
	v, err := db.Get([]byte("next"))
	if acked < 0 && err == ErrNotFound {
		return
	}
	require.NoError(t, err)
	next := binary.BigEndian.Uint64(v)
	require.Greater(t, int64(next), acked, "round %d: an acknowledged write is lost", round)
	for n := max(int64(next)-500, 0); n < int64(next); n++ {
		for row := range killRows(uint64(n)) {
			requireValue(t, db, killKey(uint64(n), row), killValue(uint64(n), row))
		}
	}
}
