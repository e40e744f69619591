package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// small is a command line that is over in a moment.
func small(args ...string) []string {
	return append([]string{"--num", "300", "--write_buffer_size", "256KiB", "--cache_size", "1MiB", "--drop_caches=false", "--format", "json"}, args...)
}

// rowsOf parses the JSON lines of a run.
func parseRows(t *testing.T, out string) []map[string]any {
	t.Helper()
	var rows []map[string]any
	for line := range strings.Lines(out) {
		var r map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		rows = append(rows, r)
	}
	return rows
}

const everyBenchmark = "fillseq,fillsync,fillrandom,overwrite,readrandom,readseq,readreverse,readmissing,seekrandom,readwhilewriting,deleterandom"

func TestEveryBenchmarkOnBothEngines(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "x.img")
	out, err := kvbench(t, context.Background(), small("--device", image, "--vs", "hostfs", "--benchmarks", everyBenchmark)...)
	require.NoError(t, err)
	rows := parseRows(t, out)
	require.Len(t, rows, 3*12, "two engines and a ratio for each row, fillsync twice")
	for i, r := range rows {
		require.Equal(t, []string{"blobkv", "hostfs", "blobkv"}[i%3], r["engine"])
		if i%3 == 2 {
			require.Equal(t, "hostfs", r["vs"])
			require.Contains(t, r, "ratio")
			continue
		}
		require.Greater(t, r["ops"], 0.0, "%v", r)
		require.Greater(t, r["ops_per_sec"], 0.0, "%v", r)
		require.GreaterOrEqual(t, r["max_us"], r["p50_us"], "%v", r)
	}
	byName := map[string]map[string]any{}
	for i := 0; i < len(rows); i += 3 {
		byName[rows[i]["benchmark"].(string)] = rows[i]
	}
	require.Equal(t, 0.0, byName["readmissing"]["found"])
	require.Greater(t, byName["readrandom"]["found"], 100.0)
	require.Greater(t, byName["readwhilewriting"]["writes_per_sec"], 0.0)
	require.Equal(t, "fresh", byName["fillsync"]["logs"])
	require.Equal(t, "sync", byName["fillsync"]["durability"])
	require.Equal(t, "recycled", byName["fillsync-recycled"]["logs"])

	require.FileExists(t, image, "the store is kept")
	require.DirExists(t, filepath.Join(dir, "kvbench-hostfs"))
}

// Every number of threads has its row on the same data, with a ratio and CPU of the machine.
func TestThreadsList(t *testing.T) {
	image := filepath.Join(t.TempDir(), "x.img")
	out, err := kvbench(t, context.Background(), small("--device", image, "--vs", "hostfs", "--threads", "1,4",
		"--benchmarks", "fillrandom,readrandom,readwhilewriting", "--benchmark_write_rate_limit", "1MiB")...)
	require.NoError(t, err)
	rows := parseRows(t, out)
	require.Len(t, rows, 3*5)
	for i, threads := range []float64{1, 1, 4, 1, 4} {
		for _, r := range rows[3*i : 3*i+3] {
			require.Equal(t, threads, r["threads"], "%v", r)
		}
		require.Equal(t, 300.0, rows[3*i]["ops"])
		require.Contains(t, rows[3*i], "sys_cpu_us_per_op")
	}
	require.Greater(t, rows[6]["found"], 100.0, "the data is still there")
}

func TestExistingStoreIsNeverTouchedUnasked(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	image := filepath.Join(dir, "x.img")
	device := image + "?size=64MiB"
	_, err := kvbench(t, ctx, small("--device", device, "--benchmarks", "fillseq")...)
	require.NoError(t, err)
	before, err := os.ReadFile(image)
	require.NoError(t, err)

	_, err = kvbench(t, ctx, small("--device", device, "--benchmarks", "fillseq")...)
	require.ErrorIs(t, err, errUsage)
	after, err := os.ReadFile(image)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after))

	out, err := kvbench(t, ctx, small("--device", device, "--use_existing_db", "--benchmarks", "fillseq,readrandom,readseq")...)
	require.NoError(t, err)
	rows := parseRows(t, out)
	require.Len(t, rows, 2, "fillseq is skipped")
	require.Equal(t, 300.0, rows[0]["found"], "the keys of the first run are there")

	out, err = kvbench(t, ctx, small("--device", device, "--destroy", "--benchmarks", "overwrite,readseq", "--num", "40")...)
	require.NoError(t, err)
	rows = parseRows(t, out)
	require.Len(t, rows, 2)
	require.Less(t, rows[1]["data_mb"], 1.0)
}

// Without --keep nothing is left but what was there, and a store that was only used.
func TestKeepFalseRemovesWhatWasMade(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	image := filepath.Join(dir, "x.img")
	_, err := kvbench(t, ctx, small("--device", image, "--vs", "hostfs", "--benchmarks", "fillseq", "--keep=false")...)
	require.NoError(t, err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	_, err = kvbench(t, ctx, small("--device", image, "--benchmarks", "fillseq")...)
	require.NoError(t, err)
	_, err = kvbench(t, ctx, small("--device", image, "--use_existing_db", "--benchmarks", "readseq", "--keep=false")...)
	require.NoError(t, err)
	require.FileExists(t, image)
}

// TestRAMDevice benchmarks stores that are gone when they are closed: in memory, and in memory behind the NVMe driver.
func TestRAMDevice(t *testing.T) {
	for _, device := range []string{"malloc:64MiB", "nvme-sim:64MiB"} {
		out, err := kvbench(t, context.Background(),
			small("--device", device, "--benchmarks", "fillrandom,fillsync,readrandom", "--threads", "4", "--runs", "2")...)
		require.NoError(t, err)
		rows := parseRows(t, out)
		require.Len(t, rows, 4, "fillsync is two")
		for _, r := range rows {
			require.Equal(t, 2.0, r["runs"])
			require.Equal(t, 300.0, r["ops"], "threads share the operations")
			require.Contains(t, r, "ops_per_sec_min")
		}
		require.Positive(t, rows[3]["found"])
	}
}

// An interrupted run removes its stores and nothing else.
func TestInterruptRemovesWhatWasMade(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine")
	require.NoError(t, os.WriteFile(mine, []byte("x"), 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	image := filepath.Join(dir, "x.img")
	go func() {
		for range 10_000 { // once the store is there, the row runs or is about to
			if _, err := os.Stat(image); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
		cancel()
	}()
	_, err := kvbench(t, ctx, small("--device", image, "--vs", "hostfs", "--benchmarks", "fillseq,overwrite", "--duration", "30s")...)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, exitInterrupted, report(ctx, err))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.FileExists(t, mine)
}

// An engine that dies is named, and the run ends.
func TestEngineThatDies(t *testing.T) {
	p, err := startProcess("blobkv", os.Stderr)
	require.NoError(t, err)
	require.NoError(t, p.cmd.Process.Kill())
	_, err = p.call(nil, request{Op: opRun}, func(progress) {})
	require.ErrorContains(t, err, "engine blobkv was killed")
	require.Error(t, p.close())
}

// killAt kills an engine while a row runs on it, as a memory limit would.
type killAt struct {
	reporter
	se     *session
	after  string // the benchmark whose last row is printed before
	victim int
}

func (k *killAt) row(r row) {
	k.reporter.row(r)
	if r.Benchmark == k.after && r.ratio != nil {
		_ = k.se.contenders[k.victim].proc.cmd.Process.Kill() // the row that comes finds it dead
	}
}

// killedRun runs rows on our engine and two splits of the host's, one of which is killed after a row.
func killedRun(t *testing.T, benchmarks, after string, victim int) ([]map[string]any, error) {
	t.Helper()
	s := defaultSettings()
	s.Device = filepath.Join(t.TempDir(), "x.img")
	s.VS, s.Num, s.WriteBufferSize, s.CacheSize, s.DropCaches = engineHostFS, 300, 256<<10, 1<<20, false
	s.Benchmarks, s.Format, s.Memory = benchmarks, formatJSON, 512<<20
	var out bytes.Buffer
	var stderr lockedBuffer
	se, err := newSession(context.Background(), s, &out, &stderr)
	require.NoError(t, err)
	se.Memory = 0 // for the splits alone: the machine that tests may not permit cgroups
	se.out = &killAt{se.out, se, after, victim}
	require.NoError(t, se.startEngines())
	for _, p := range se.rows {
		require.NoError(t, se.row(context.Background(), p))
	}
	err = se.finish(context.Background(), se.lostError())
	return parseRows(t, out.String()), err
}

// An engine that is killed loses its row; the others and the rows that come are measured.
func TestKilledEngineLosesItsRow(t *testing.T) {
	rows, err := killedRun(t, "fillseq,readrandom,readseq", "fillseq", 1)
	require.ErrorIs(t, err, errIncomplete)
	require.ErrorContains(t, err, "readrandom of hostfs")
	require.Equal(t, exitIncomplete, report(context.Background(), err))
	require.Len(t, rows, 3*4)
	for i, r := range rows {
		require.Equal(t, i == 5, r["lost"] != nil, "%v", r)
	}
	require.Contains(t, rows[5]["lost"], "killed")
	require.Equal(t, 300.0, rows[9]["found"], "its store is whole, and it takes part again")
}

// A store that was being filled is not read afterwards, until a row makes a new one.
func TestKilledWhileFilling(t *testing.T) {
	rows, err := killedRun(t, "fillseq,overwrite,readseq,fillrandom,readrandom", "fillseq", 0)
	require.ErrorIs(t, err, errIncomplete)
	require.Len(t, rows, 5*4)
	require.Contains(t, rows[4]["lost"], "killed")
	require.Nil(t, rows[7]["ratio"])
	require.Contains(t, rows[8]["lost"], "not complete: killed in overwrite")
	require.Nil(t, rows[12]["lost"])
	require.Equal(t, 300.0, rows[12]["ops"])
	require.NotZero(t, rows[16]["found"])
}

func TestEngineRefusesRequestsOutOfOrder(t *testing.T) {
	p, err := startProcess("blobkv", os.Stderr)
	require.NoError(t, err)
	_, err = p.call(nil, request{Op: opRun}, func(progress) {})
	require.ErrorContains(t, err, "before the configuration")
	_, err = p.call(nil, request{Op: opRun, Config: testConfig()}, func(progress) {})
	require.ErrorContains(t, err, "without a store")
	_, err = p.call(nil, request{Op: "dance"}, func(progress) {})
	require.ErrorContains(t, err, "unknown request")
	_, err = p.call(nil, request{Op: opPrepare, Benchmark: "dance"}, func(progress) {})
	require.ErrorContains(t, err, "unknown benchmark")
	require.NoError(t, p.close())
}

// TestSmallFiles runs on the file systems below both engines and leaves their keys alone, and no files.
func TestSmallFiles(t *testing.T) {
	image := filepath.Join(t.TempDir(), "x.img")
	out, err := kvbench(t, context.Background(), small("--device", image, "--vs", "hostfs", "--benchmarks",
		"smallfiles,fillseq,smallfiles,readseq,fillsyncwhilecompacting", "--threads", "2")...)
	require.NoError(t, err)
	files, found := 0, 0
	for _, r := range parseRows(t, out) {
		switch {
		case r["ops_per_sec"] == nil: // a ratio
		case r["benchmark"] == "smallfiles":
			files++
			require.Equal(t, "sync", r["durability"])
			require.Equal(t, 300.0, r["ops"])
		case r["benchmark"] == "readseq":
			found++
			require.Equal(t, 300.0, r["found"], "the keys are still there")
		}
	}
	require.Equal(t, 4, files)
	require.Equal(t, 2, found)
	require.NoDirExists(t, filepath.Join(filepath.Dir(image), "kvbench-hostfs", filesFolder))

	_, err = kvbench(t, context.Background(), small("--device", "malloc:64MiB", "--benchmarks", "smallfiles")...)
	require.ErrorIs(t, err, errUsage)
	_, err = kvbench(t, context.Background(), small("--device", image, "--destroy", "--benchmarks", "smallfiles,readseq")...)
	require.ErrorIs(t, err, errUsage)
}
