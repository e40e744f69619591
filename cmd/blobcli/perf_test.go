package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/faultbdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
)

// TestPerfVerifies runs every workload and has it check the content it reads and wrote.
func TestPerfVerifies(t *testing.T) {
	for _, rw := range perfWorkloads {
		for _, depth := range []string{"1", "8"} {
			args := []string{"-d", "malloc:8MiB", "bdev", "perf", "--rw", rw, "--time", "50ms", "--threads", "2", "--iodepth", depth, "--seed", "7"}
			if rw == "flush" {
				args = args[:len(args)-4]
			} else {
				args = append(args, "--verify")
			}
			var r perfResult
			okJSON(t, &r, args...)
			require.NotZero(t, r.IOs, rw)
			require.NotZero(t, r.IOPS)
			require.LessOrEqual(t, r.P50US, r.P99US)
			if rw != "flush" {
				require.NotZero(t, r.Verified, "%s depth %s", rw, depth)
			}
		}
	}
}

func TestPerfOnAnImage(t *testing.T) {
	device := filepath.Join(t.TempDir(), "perf.img")
	var r perfResult
	okJSON(t, &r, "-d", device+"?size=16MiB", "bdev", "perf", "--rw", "write", "--flush-each", "--time", "50ms")
	require.NotZero(t, r.IOs)
	require.NotZero(t, r.CPUPerIOUS)

	refused := blobcli("", "-d", device, "bdev", "perf", "--rw", "randwrite", "--time", "50ms")
	require.Equal(t, exitUsage, refused.code)
	require.Contains(t, refused.stderr, "--force")
	okJSON(t, &r, "-d", device, "bdev", "perf", "--rw", "randread", "--iodepth", "4", "--time", "50ms")
	require.NotZero(t, r.IOs)
}

// A read that failed is an I/O error: what its buffer holds is no wrong content.
func TestPerfReportsAFailedReadAsThat(t *testing.T) {
	ram, err := mallocbdev.New(mallocbdev.Config{Size: 8 << 20})
	require.NoError(t, err)
	faults := faultbdev.New(ram)
	dev, err := bdev.New("faulty", faults, bdev.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	for _, depth := range []int{1, 8} {
		run, err := newPerfRun(t.Context(), dev, perfConfig{
			rw: "randread", blockSize: 4096, depth: depth, threads: 1, duration: time.Minute, verify: true, span: 8 << 20,
		})
		require.NoError(t, err)
		require.NoError(t, run.prefill(func(int64, int64) {}))
		faults.Inject(faultbdev.Rule{Ops: faultbdev.Reads, Skip: 20, Fault: faultbdev.Fail(bdev.ErrIO)})
		_, err = run.execute(func(uint64, time.Duration) {})
		require.ErrorIs(t, err, bdev.ErrIO)
		require.NotErrorIs(t, err, errContent)
	}
}

// --scratch measures beside a store, which stays as it is, and leaves no file.
func TestPerfScratchLeavesTheStoreAlone(t *testing.T) {
	dir := t.TempDir()
	device := filepath.Join(dir, "s.img")
	ok(t, "-d", device+"?size=64MiB", "init")
	before, err := os.ReadFile(device)
	require.NoError(t, err)

	refused := blobcli("", "-d", device, "bdev", "perf", "--rw", "write", "--flush-each", "--time", "50ms")
	require.Equal(t, exitUsage, refused.code)
	require.Contains(t, refused.stderr, "--scratch")
	var r perfResult
	okJSON(t, &r, "-d", device, "bdev", "perf", "--rw", "write", "--flush-each", "--scratch", "--span", "2MiB", "--time", "50ms")
	require.NotZero(t, r.IOs)
	require.Contains(t, r.Device, "s.img.perf-")

	after, err := os.ReadFile(device)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)

	for _, args := range [][]string{{"-d", "malloc:8MiB"}, {"-d", "file:/dev/null"}} {
		refused := blobcli("", append(args, "bdev", "perf", "--rw", "write", "--scratch", "--time", "50ms")...)
		require.Equal(t, exitUsage, refused.code, refused.stderr)
	}
}

func TestPerfRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"--rw", "scribble"},
		{"--bs", "1000"},
		{"--bs", "none"},
		{"--iodepth", "0"},
		{"--threads", "-1"},
		{"--policy", "maybe"},
		{"--rw", "read", "--flush-each"},
		{"--bs", "1MiB", "--iodepth", "32"},
	} {
		r := blobcli("", append([]string{"-d", "malloc:8MiB", "bdev", "perf"}, args...)...)
		require.Equal(t, exitUsage, r.code, "%v: %s", args, r.stderr)
	}
}

func TestPatternFindsWrongContent(t *testing.T) {
	p := pattern{3}
	b := make([]byte, 4096)
	p.fill(b, 8192)
	require.NoError(t, p.check(b, 8192))
	require.ErrorIs(t, p.check(b, 4096), errContent)
	b[4095] ^= 1
	require.ErrorIs(t, p.check(b, 8192), errContent)
}
