package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// onLoop runs a small command line on loop devices in a folder, or skips where there are none.
func onLoop(t *testing.T, ctx context.Context, dir string, args ...string) (string, error) {
	t.Helper()
	out, err := kvbench(t, ctx, small(append([]string{"--vs", "hostfs:" + dir, "--loop", "256MiB"}, args...)...)...)
	if errors.Is(err, errUsage) && strings.Contains(err.Error(), "not available") {
		t.Skip(err)
	}
	return out, err
}

// requireNoLoop looks for what a run on loop devices may have left.
func requireNoLoop(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), dir)
	attached, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	require.NoError(t, err)
	for _, name := range attached {
		file, err := os.ReadFile(name)
		if err == nil {
			require.NotContains(t, string(file), dir, name)
		}
	}
}

// The host's engine gets an ext4 with a journal and ours a bare device; afterwards there is neither.
func TestLoop(t *testing.T) {
	dir := t.TempDir()
	out, err := onLoop(t, context.Background(), dir, "--benchmarks", "fillsync,readseq,smallfiles", "--bound", "--duration", "50ms")
	require.NoError(t, err)
	rows := parseRows(t, out)
	require.Len(t, rows, 2*6+3+3)
	require.Contains(t, rows[0]["device"], "/dev/loop")
	require.Equal(t, "block device", rows[0]["filesystem"])
	require.Regexp(t, "^ext4 on /dev/loop[0-9]+, journal,", rows[1]["filesystem"])
	require.Greater(t, rows[4]["ratio"], 0.0)
	require.Contains(t, rows[3]["device"], "/dev/loop")
	require.NotEqual(t, rows[0]["device"], rows[3]["device"])
	require.Greater(t, rows[5]["bound"].(map[string]any)["device_us"], 0.0)
	requireNoLoop(t, dir)
}

func TestLoopInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for range 10_000 { // until the host's store is there
			if found, _ := filepath.Glob(filepath.Join(dir, "*", "ext4", "kvbench-hostfs", "*")); len(found) > 0 || ctx.Err() != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := onLoop(t, ctx, dir, "--benchmarks", "fillsync", "--runs", "50")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, exitInterrupted, report(ctx, err))
	requireNoLoop(t, dir)
}
