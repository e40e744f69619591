package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// timed is a run of durable writes that took so many microseconds each.
func timed(us, walSync float64) measurement {
	return measurement{result: result{Ops: 1000, Seconds: us / 1e3, WALSyncs: 500, WALSyncSecs: walSync / 2e3}}
}

// The time of a durable write is held against that of the engine in RAM and of the device in the same round.
func TestBoundDividesRunByRun(t *testing.T) {
	var b bound
	b.fill([]measurement{timed(100, 80), timed(200, 160), timed(120, 99)},
		[]measurement{timed(10, 0), timed(20, 0), timed(10, 0)},
		[]measurement{timed(100, 0), timed(200, 0), timed(100, 0)})
	require.InDelta(t, 120, b.Time, 1e-9)
	require.InDelta(t, 10+1.1*100, b.Bound, 1e-9)
	require.InDelta(t, 100.0/120, b.MinOfBound, 1e-9)
	require.InDelta(t, 200.0/240, *b.OfBound, 1e-9)
	require.InDelta(t, 1, b.MaxOfBound, 1e-9)
	require.InDelta(t, 99, b.WALSync, 1e-9)
	require.InDelta(t, 0.8, *b.OfDevice, 1e-9)
	require.InDelta(t, 0.99, b.MaxOfDevice, 1e-9)

	var several bound
	several.fill([]measurement{timed(10, 80)}, nil, []measurement{timed(100, 0)})
	require.Nil(t, several.OfBound, "threads share flushes")
	require.InDelta(t, 0.8, *several.OfDevice, 1e-9)
}

func TestGoldenBound(t *testing.T) {
	se := fakeSession(1)
	se.Bound = true
	se.contenders = append(se.contenders, se.references(se.contenders[0].split, place{Kind: placeImage, Device: "aio:/data/d.img"})...)
	for _, c := range se.contenders[3:] {
		c.fsName = "memory"
	}
	var out bytes.Buffer
	rep := newReporter(formatTable, &out, nil)
	all := outcomes(timed(138.6, 97), timed(158, 120), timed(160, 121), timed(16, 0.1), timed(88, 0))
	for _, r := range se.rowsOf(oneThread("fillsync"), all) {
		rep.row(r)
	}
	all[3] = outcome{apart: true}
	for _, r := range se.rowsOf(rowPlan{findBenchmark("fillsync"), 16}, all) {
		rep.row(r)
	}
	all[4] = outcome{lost: "killed"}
	for _, r := range se.rowsOf(rowPlan{findBenchmark("fillsync-recycled"), 16}, all) {
		rep.row(r)
	}
	requireGolden(t, "table-bound.txt", out.Bytes())
}

// Both references run beside fillsync, for as many rotations as are asked for, and leave nothing.
func TestBoundAndRotations(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "x.img")
	out, err := kvbench(t, context.Background(), small("--device", image+"?size=1GiB", "--vs", "hostfs", "--bound", "--log_rotations", "2",
		"--duration", "50ms", "--threads", "1,4", "--benchmarks", "fillsync")...)
	require.NoError(t, err)
	rows := parseRows(t, out)
	var engines []any
	for _, r := range rows[:6] {
		engines = append(engines, r["engine"])
	}
	require.Equal(t, []any{"blobkv", "hostfs", "ramfs", "device", "blobkv", "blobkv"}, engines)
	require.Len(t, rows, 2*(6+5), "with several threads there is no engine in RAM")
	for i := range 3 {
		require.GreaterOrEqual(t, rows[i]["log_rotations"], 2.0, "%v", rows[i])
		require.Equal(t, 1.0, rows[i]["threads"])
	}
	for i := 11; i < 14; i++ {
		require.Equal(t, "fillsync-recycled", rows[i]["benchmark"])
		require.Equal(t, rows[i]["log_rotations"], rows[i]["logs_recycled"], "every log was used before: %v", rows[i])
	}
	b := rows[5]["bound"].(map[string]any)
	for _, name := range []string{"time_us", "ram_us", "device_us", "bound_us", "of_bound", "wal_sync_us", "host_wal_sync_us", "wal_sync_of_device"} {
		require.Greater(t, b[name], 0.0, name)
	}
	require.NotContains(t, rows[10]["bound"], "of_bound")

	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "the stores and no scratch file")
}

// The device's writes go one after the other over the whole scratch file, which was written before.
func TestDeviceStore(t *testing.T) {
	image := filepath.Join(t.TempDir(), "d.img")
	s, err := openDeviceStore(place{Device: "file:" + image}, 5000)
	require.NoError(t, err)
	d := s.(*deviceStore)
	require.Len(t, d.buf, 8<<10)
	text, err := os.ReadFile(image)
	require.NoError(t, err)
	require.Len(t, text, scratchSize)
	require.NotContains(t, text, byte(0), "all of it was written")

	before := s.metrics().deviceWritten
	for range 3 {
		require.NoError(t, s.set(nil, []byte("value"), true))
	}
	require.EqualValues(t, 3*8<<10, s.metrics().deviceWritten-before)
	text, err = os.ReadFile(image)
	require.NoError(t, err)
	require.Equal(t, "value", string(text[2*8<<10:][:5]))
	d.next = scratchSize - 4096
	require.NoError(t, s.set(nil, []byte("wrap"), true))
	text, err = os.ReadFile(image)
	require.NoError(t, err)
	require.Equal(t, "wrap", string(text[:4]))
	require.NoError(t, s.close())
}

// rotatingStore counts every tenth write as a rotation of the log.
type rotatingStore struct {
	nullStore
	sets atomic.Int64
}

func (s *rotatingStore) set(_, _ []byte, _ bool) error { s.sets.Add(1); return nil }
func (s *rotatingStore) metrics() storeMetrics         { return storeMetrics{logs: s.sets.Load() / 10} }

func TestRowEndsWithItsRotations(t *testing.T) {
	s := &rotatingStore{nullStore: nullStore{newMapStore()}}
	r := &runner{cfg: testConfig(), store: s, cancelled: new(atomic.Bool), values: newValuePool(rngFor(1, "x", 1, 0, 0), 10, 1),
		spec: rowSpec{benchmark: findBenchmark("fillsync-recycled"), threads: 1, maxOps: endless, rotations: 4}}
	res, err := r.run(func(progress) {})
	require.NoError(t, err)
	require.GreaterOrEqual(t, res.Rotations, int64(4))
	require.GreaterOrEqual(t, res.Ops, int64(40))
}

// What parts have counted is added up, and quantiles are of all their operations.
func TestMergeParts(t *testing.T) {
	var parts []measurement
	for i := range 2 {
		s := newMapStore()
		res := runOn(t, s, testConfig(), "fillseq", 50)
		h := newHistogram()
		require.NoError(t, h.RecordValues(int64(1+999*i)*int64(time.Microsecond), int64(100-50*i)))
		r := &runner{cfg: testConfig(), store: s, spec: rowSpec{benchmark: findBenchmark("fillseq")}, workers: []*worker{{hist: h, maxNs: int64(i) * 7000}}}
		encoded, err := r.result(time.Second, storeMetrics{})
		require.NoError(t, err)
		res.Hist, res.MaxUs, res.Seconds, res.Rotations, res.DataBytes = encoded.Hist, encoded.MaxUs, 1, 1, int64(i)
		parts = append(parts, measurement{result: res, sysCPUSeconds: 2, diskRead: -1, diskWritten: 5})
	}
	m, err := mergeParts(parts)
	require.NoError(t, err)
	require.EqualValues(t, 100, m.Ops)
	require.InDelta(t, 2, m.Seconds, 1e-9)
	require.EqualValues(t, 2, m.Rotations)
	require.EqualValues(t, 1, m.DataBytes, "what was there at the end")
	require.InDelta(t, 1, m.P50, 0.02)
	require.InDelta(t, 1000, m.P99, 20, "of the hundred and fifty operations fifty took a millisecond")
	require.InDelta(t, 7, m.MaxUs, 1e-9)
	require.InDelta(t, 4, m.sysCPUSeconds, 1e-9)
	require.EqualValues(t, -1, m.diskRead)
	require.EqualValues(t, 10, m.diskWritten)

	parts[1].Hist = "noise"
	_, err = mergeParts(parts)
	require.ErrorContains(t, err, "part 2")
}
