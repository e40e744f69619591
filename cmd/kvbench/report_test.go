package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/procstat"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// requireGolden compares output with testdata/name.
func requireGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run go test -update after a look at the difference")
}

// fakeSession has one engine of ours and two splits of the host's.
func fakeSession(runs int) *session {
	s := defaultSettings()
	s.VS, s.Memory, s.Runs = engineHostFS, 512<<20, runs
	se := &session{settings: s, cold: true, limited: true}
	disk := procstat.Mount{Type: "ext4", Source: "/dev/vda", Journal: "journal", Options: "rw"}
	for _, sp := range []split{
		{Engine: engineBlobKV, CacheSize: 40 << 20, Compressed: 280 << 20},
		{Engine: engineHostFS, Name: "small", CacheSize: 48 << 20, PageCache: 336 << 20},
		{Engine: engineHostFS, Name: "large", CacheSize: 336 << 20, PageCache: 48 << 20},
	} {
		p := place{Kind: placeImage, Device: "aio:/data/x.img", Path: "/data/x.img", Policy: "adaptive"}
		if sp.Engine == engineHostFS {
			p = place{Kind: placeFolder, Path: "/data/kvbench-hostfs-" + sp.Name}
		}
		c := newContender(&se.settings, sp, p)
		c.mount, c.fsName = disk, disk.String()
		se.contenders = append(se.contenders, c)
	}
	return se
}

func fakeMeasurement(ops int64, seconds float64) measurement {
	return measurement{
		result: result{Ops: ops, Found: ops * 63 / 100, Bytes: ops * 116, Seconds: seconds, P50: 1.25, P99: 45.5, P999: 333, MaxUs: 12345.6,
			CPUSeconds: 0.5 * seconds, DrainSeconds: 0.25, EngineWritten: 300e6, StackWritten: 301e6, DataBytes: 900e6,
			ResidentBytes: 400e6, Rotations: 3},
		sysCPUSeconds: 0.75 * seconds, diskRead: 7e6, diskWritten: 310e6, pageCache: 100e6,
	}
}

func oneThread(name string) rowPlan { return rowPlan{findBenchmark(name), 1} }

// outcomes are one run of each contender.
func outcomes(each ...measurement) []outcome {
	var all []outcome
	for _, m := range each {
		all = append(all, outcome{runs: []measurement{m}})
	}
	return all
}

// fakeRows are the rows of a write and of a read, with ratios and without.
func fakeRows(se *session) []row {
	m := fakeMeasurement
	all := outcomes(m(1000000, 10), m(1000000, 20), m(1000000, 16))
	cached := outcomes(m(1000000, 10), m(1000000, 20), m(1000000, 16))
	for i := range cached {
		cached[i].runs[0].DataBytes = 50e6
		cached[i].runs[0].sysCPUSeconds, cached[i].runs[0].diskWritten = -1, -1
	}
	rows := se.rowsOf(oneThread("fillrandom"), all)
	rows = append(rows, se.rowsOf(oneThread("readrandom"), cached)...)
	rows = append(rows, se.rowsOf(oneThread("fillsync"), all)...)
	killed := []outcome{all[0], {lost: "killed by its memory limit of 512.0MiB"}, all[2]}
	return append(rows, se.rowsOf(oneThread("overwrite"), killed)...)
}

func TestGoldenTable(t *testing.T) {
	var out bytes.Buffer
	rep := newReporter(formatTable, &out, nil)
	rep.header([]string{"machine   one"}, []string{"a note"})
	for _, r := range fakeRows(fakeSession(1)) {
		rep.row(r)
	}
	rep.footer([]string{"The store is kept."})
	requireGolden(t, "table.txt", out.Bytes())
}

func TestGoldenTableOfSeveralRuns(t *testing.T) {
	se := fakeSession(3)
	var all []outcome
	for i := range se.contenders {
		d := float64(i)
		all = append(all, outcome{runs: []measurement{fakeMeasurement(1e6, 10+d), fakeMeasurement(1e6, 12), fakeMeasurement(1e6, 9)}})
	}
	var out bytes.Buffer
	rep := newReporter(formatTable, &out, nil)
	for _, r := range se.rowsOf(oneThread("overwrite"), all) {
		rep.row(r)
	}
	requireGolden(t, "table-runs.txt", out.Bytes())
}

func TestGoldenJSON(t *testing.T) {
	var out, notes bytes.Buffer
	rep := newReporter(formatJSON, &out, &notes)
	rep.header([]string{"not in JSON"}, []string{"a note"})
	require.Equal(t, "kvbench: a note\n", notes.String())
	for _, r := range fakeRows(fakeSession(1)) {
		rep.row(r)
	}
	rep.footer([]string{"not in JSON"})
	requireGolden(t, "rows.json", out.Bytes())

	for line := range bytes.Lines(out.Bytes()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal(line, &fields))
		if _, isRatio := fields["vs"]; isRatio {
			require.Contains(t, fields, "ratio")
			continue
		}
		if _, isLost := fields["lost"]; isLost {
			require.NotContains(t, fields, "ops")
			continue
		}
		for _, name := range []string{"benchmark", "engine", "device", "threads", "ops", "seconds", "ops_per_sec", "mb_per_sec",
			"p50_us", "p99_us", "p999_us", "max_us", "cpu_us_per_op", "sys_cpu_us_per_op"} {
			require.Contains(t, fields, name)
		}
	}
}

func TestMedianAndOrder(t *testing.T) {
	runs := []measurement{fakeMeasurement(100, 1), fakeMeasurement(100, 4), fakeMeasurement(100, 2)}
	m := median(runs)
	require.Equal(t, 2.0, m.Seconds)
	m = median(runs[:2])
	require.Equal(t, 4.0, m.Seconds, "of two the slower")
	low, high := spread(runs)
	require.Equal(t, []float64{25, 100}, []float64{low, high})
	require.Equal(t, []int{0, 1, 2}, order(3, 0))
	require.Equal(t, []int{2, 1, 0}, order(3, 1))
}

// The better of the host's splits counts, and ratios pair runs that were neighbours.
func TestRatioAgainstTheBetterSplit(t *testing.T) {
	se := fakeSession(1)
	all := outcomes(fakeMeasurement(100, 1), fakeMeasurement(100, 2), fakeMeasurement(100, 4))
	r := se.ratioRow(oneThread("fillrandom"), all)
	require.InDelta(t, 2.0, *r.Ratio, 1e-9)
	require.EqualValues(t, 48<<20, r.VSCache)
	all[1], all[2] = all[2], all[1]
	r = se.ratioRow(oneThread("fillrandom"), all)
	require.EqualValues(t, 336<<20, r.VSCache)

	all[2].lost = "killed" // the other split counts then
	r = se.ratioRow(oneThread("fillrandom"), all)
	require.InDelta(t, 4.0, *r.Ratio, 1e-9)
	require.EqualValues(t, 48<<20, r.VSCache)
	all[1].lost = "killed"
	r = se.ratioRow(oneThread("fillrandom"), all)
	require.Nil(t, r.Ratio)
	require.Contains(t, r.Note, "no ratio")
	all[0].lost, all[1].lost = "killed", ""
	require.Nil(t, se.ratioRow(oneThread("fillrandom"), all).Ratio)

	require.Equal(t, []float64{0.5, 2}, ratiosOf(
		[]measurement{fakeMeasurement(100, 1), fakeMeasurement(100, 4)},
		[]measurement{fakeMeasurement(100, 2), fakeMeasurement(100, 2)}, (*measurement).opsPerSec))
	require.Equal(t, []float64{0}, ratiosOf([]measurement{fakeMeasurement(1, 1)}, []measurement{{}}, (*measurement).opsPerSec))
}

// Latency and CPU are compared too, pair by pair; of an even number of runs the worse one of the middle counts.
func TestRatiosOfLatencyAndCPU(t *testing.T) {
	se := fakeSession(2)
	ours := []measurement{fakeMeasurement(100, 1), fakeMeasurement(100, 1)}
	host := []measurement{fakeMeasurement(100, 1), fakeMeasurement(100, 1)}
	ours[0].P999, ours[1].P999 = 33.3, 111
	ours[0].sysCPUSeconds, ours[1].sysCPUSeconds = 0.375, 0.15
	r := se.ratioRow(rowPlan{findBenchmark("readrandom"), 4}, []outcome{{runs: ours}, {runs: host}, {runs: host}})
	require.InDelta(t, 1.0/3, *r.P999Ratio, 1e-9)
	require.InDelta(t, 1.0/3, r.P999Worst, 1e-9)
	require.InDelta(t, 0.5, *r.CPURatio, 1e-9)
	require.Equal(t, 4, r.Threads)

	host[0].sysCPUSeconds, host[1].sysCPUSeconds = -1, -1
	r = se.ratioRow(oneThread("readrandom"), []outcome{{runs: ours}, {runs: host}, {runs: host}})
	require.Nil(t, r.CPURatio, "the platform does not tell")
}

func TestNoRatioWhereItMeansNothing(t *testing.T) {
	se := fakeSession(1)
	host := []measurement{fakeMeasurement(100, 1)}
	require.Empty(t, se.meaningless(findBenchmark("readrandom"), host))

	host[0].pageCache = host[0].DataBytes
	require.Contains(t, se.meaningless(findBenchmark("readrandom"), host), "page cache")
	require.Contains(t, se.meaningless(findBenchmark("fillrandom"), host), "page cache")
	require.Empty(t, se.meaningless(findBenchmark("fillsync"), host), "a synced write reaches the disk")
	se.Sync = true
	require.Empty(t, se.meaningless(findBenchmark("overwrite"), host))

	se.contenders[1].mount.RAM = true
	require.Contains(t, se.meaningless(findBenchmark("fillsync"), host), "memory")
}

func TestNumbers(t *testing.T) {
	require.Equal(t, "0", thousands(0))
	require.Equal(t, "999", thousands(999.4))
	require.Equal(t, "1,234,568", thousands(1234567.8))
	require.Equal(t, "1.25", micros(1.25))
	require.Equal(t, "45.5", micros(45.5))
	require.Equal(t, "12346", micros(12345.6))
	require.Zero(t, perSecond(5, 0))
	require.Zero(t, perOp(5, 0))
}

func TestProgressText(t *testing.T) {
	require.Equal(t, "fillseq blobkv:  50%  500 ops  1,000 ops/s  0.5s",
		progressText("fillseq", "blobkv", 1000, 0, progress{Phase: "running", Ops: 500, Seconds: 0.5}))
	require.Contains(t, progressText("x", "y", 1000, 1e9, progress{Ops: 10, Seconds: 0.75}), " 75%")
	require.Contains(t, progressText("x", "y", 1000, 1e9, progress{Phase: "draining"}), "draining")
}

func TestProgressIsSilentWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgressLine(&out)
	p.teller("fillseq", "blobkv", 0, 0)(progress{})
	p.clear()
	require.Empty(t, out.String())

	p = &progressLine{w: &out}
	p.show("a line that is much longer than any terminal is wide, which would leave its start behind when it wraps")
	p.clear()
	require.Less(t, out.Len(), 100)
	require.Contains(t, out.String(), clearLine)
}
