//go:build linux

package guest

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCommands runs kvbench and blobcli on the drive, as a user does.
func TestCommands(t *testing.T) {
	name := "nvme:" + controller(t)
	wipe(t, name)
	seen := map[string]benchRow{}
	for _, r := range kvbench(t, "--device", name, "--num", "20000", "--duration", "2s", "--benchmarks", "fillrandom,fillsync,readrandom") {
		seen[r.Benchmark] = r
	}
	for _, benchmark := range []string{"fillrandom", "fillsync", "readrandom"} {
		require.Positive(t, seen[benchmark].OpsPerSec, benchmark)
	}
	require.Equal(t, "sync", seen["fillsync"].Durability)
	require.Positive(t, seen["readrandom"].Found)
	require.Contains(t, command(t, "blobcli", "-d", name, "check"), "\nOK\n")
	require.Contains(t, command(t, "blobcli", "-d", name, "ls", "db"), "MANIFEST")
}

// benchRow is what is used here of a row of kvbench.
type benchRow struct {
	Benchmark, Engine, Durability, Note string
	Found                               int64
	OpsPerSec                           float64  `json:"ops_per_sec"`
	Ratio                               *float64 // ours by the host's, in a row of its own
}

// kvbench runs it and returns the rows.
func kvbench(t *testing.T, args ...string) (rows []benchRow) {
	t.Helper()
	for line := range strings.Lines(command(t, "kvbench", append(args, "--format", "json")...)) {
		var r benchRow
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		rows = append(rows, r)
	}
	return rows
}

// command runs a program of the image and returns what it printed.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out, complaints bytes.Buffer
	cmd := exec.Command("/bin/"+name, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	require.NoError(t, cmd.Run(), "%s %s\n%s%s", name, strings.Join(args, " "), &out, &complaints)
	return out.String()
}
