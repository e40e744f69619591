package main

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"
)

// mapStore is a store in a map that records what a workload does to it.
type mapStore struct {
	data  map[string]string
	trace []string // one line per call
	syncs int
}

func newMapStore() *mapStore { return &mapStore{data: map[string]string{}} }

func (s *mapStore) log(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

func (s *mapStore) getAppend(dst, key []byte) ([]byte, error) {
	s.log("get %s", key)
	v, ok := s.data[string(key)]
	if !ok {
		return dst, errNotFound
	}
	return append(dst, v...), nil
}

func (s *mapStore) set(key, value []byte, sync bool) error {
	s.log("set %s %x", key, value[:min(len(value), 4)])
	if sync {
		s.syncs++
	}
	s.data[string(key)] = string(value)
	return nil
}

func (s *mapStore) delete(key []byte, sync bool) error {
	s.log("delete %s", key)
	delete(s.data, string(key))
	return nil
}

func (s *mapStore) newIterator() (iterator, error) {
	keys := make([]string, 0, len(s.data))
	for k := range s.data {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return &mapIterator{s: s, keys: keys, at: -1}, nil
}

func (s *mapStore) fill(keys [][]byte, value []byte) error {
	s.log("fill %d", len(keys))
	for _, k := range keys {
		s.data[string(k)] = string(value)
	}
	return nil
}

func (s *mapStore) deleteRange(start, end []byte) error {
	for k := range s.data {
		if k >= string(start) && k < string(end) {
			delete(s.data, k)
		}
	}
	return nil
}

func (s *mapStore) flush() error          { return nil }
func (s *mapStore) metrics() storeMetrics { return storeMetrics{} }
func (s *mapStore) close() error          { return nil }

type mapIterator struct {
	s    *mapStore
	keys []string
	at   int
}

func (it *mapIterator) to(at int) bool {
	it.at = at
	ok := at >= 0 && at < len(it.keys)
	if ok {
		it.s.log("at %s", it.keys[at])
	}
	return ok
}

func (it *mapIterator) First() bool { return it.to(0) }
func (it *mapIterator) Last() bool  { return it.to(len(it.keys) - 1) }
func (it *mapIterator) Next() bool  { return it.to(it.at + 1) }
func (it *mapIterator) Prev() bool  { return it.to(it.at - 1) }
func (it *mapIterator) SeekGE(key []byte) bool {
	it.s.log("seek %s", key)
	return it.to(sort.SearchStrings(it.keys, string(key)))
}
func (it *mapIterator) Key() []byte   { return []byte(it.keys[it.at]) }
func (it *mapIterator) Value() []byte { return []byte(it.s.data[it.keys[it.at]]) }
func (it *mapIterator) Error() error  { return nil }
func (it *mapIterator) Close() error  { return nil }

func testConfig() *engineConfig {
	return &engineConfig{Num: 50, Seed: 7, KeySize: 8, ValueSize: 10, CompressionRatio: 0.5, SeekNexts: 2,
		Place: place{Kind: placeRAM}}
}

// runOn runs a benchmark on a store and returns its result.
func runOn(t *testing.T, s store, cfg *engineConfig, name string, ops int64) result {
	t.Helper()
	var cancelled atomic.Bool
	r := &runner{
		cfg:       cfg,
		store:     s,
		values:    newValuePool(rand.New(rand.NewPCG(cfg.Seed, 0)), cfg.ValueSize, cfg.CompressionRatio),
		cancelled: &cancelled,
		spec:      rowSpec{benchmark: findBenchmark(name), threads: 1, maxOps: ops},
	}
	res, err := r.run(func(progress) {})
	require.NoError(t, err)
	require.Equal(t, ops, res.Ops)
	return res
}

func TestKeysSortLikeNumbers(t *testing.T) {
	a, b := make([]byte, 8), make([]byte, 8)
	putKey(a, 99)
	putKey(b, 100)
	require.Equal(t, "00000099", string(a))
	require.Equal(t, "00000100", string(b))
	putKey(a, 0)
	require.Equal(t, "00000000", string(a))
	require.Equal(t, 1, digits(0))
	require.Equal(t, 3, digits(999))
	require.Equal(t, 4, digits(1000))
}

func TestValuesCompressAsAsked(t *testing.T) {
	for _, ratio := range []float64{0.25, 0.5, 0.75, 1} {
		rng := rand.New(rand.NewPCG(1, 2))
		p := newValuePool(rng, 100, ratio)
		var block []byte
		for len(block) < 32<<10 { // as a table has them: in the order of their keys, not in that of their making
			for range rng.IntN(10) {
				p.take(100)
			}
			block = append(block, p.take(100)...)
		}
		got := float64(len(snappy.Encode(nil, block))) / float64(len(block))
		require.InDelta(t, ratio, got, 0.08, "ratio %v", ratio)
	}
}

func TestValuePoolViewsStayInside(t *testing.T) {
	p := newValuePool(rand.New(rand.NewPCG(1, 2)), 3<<20, 0.5)
	v := p.view(len(p.data) - 1)
	for range 5 {
		require.Len(t, v.take(3<<20), 3<<20)
	}
}

func TestFillSeqWritesEveryKeyOnce(t *testing.T) {
	for _, threads := range []int{1, 3} {
		s := newMapStore()
		cfg := testConfig()
		if threads > 1 {
			// A map is not for many goroutines: look at the shares instead.
			r := &runner{cfg: cfg, store: s, values: newValuePool(rand.New(rand.NewPCG(1, 0)), 10, 1), spec: rowSpec{benchmark: findBenchmark("fillseq"), threads: threads, maxOps: 50}}
			_, err := r.start()
			require.NoError(t, err)
			next := int64(0)
			for _, w := range r.workers {
				require.Equal(t, next, w.firstOp)
				next += w.maxOps
			}
			require.EqualValues(t, 50, next)
			continue
		}
		res := runOn(t, s, cfg, "fillseq", 50)
		require.Len(t, s.data, 50)
		require.True(t, sort.StringsAreSorted(s.trace))
		require.EqualValues(t, 50*(8+10), res.Bytes)
		require.Zero(t, s.syncs)
	}
}

func TestFillSyncSyncsEveryWrite(t *testing.T) {
	s := newMapStore()
	runOn(t, s, testConfig(), "fillsync", 20)
	require.Equal(t, 20, s.syncs)

	cfg := testConfig()
	cfg.Sync = true
	s = newMapStore()
	runOn(t, s, cfg, "fillrandom", 20)
	require.Equal(t, 20, s.syncs)
}

// The same seed makes the same operations; another seed or another run makes others.
func TestWorkloadsAreDeterministic(t *testing.T) {
	for i := range benchmarks {
		b := &benchmarks[i]
		if b.extra != nil {
			continue // two goroutines at once
		}
		trace := func(seed uint64) []string {
			s := newMapStore()
			cfg := testConfig()
			runOn(t, s, cfg, "fillseq", 50)
			s.trace = nil
			cfg.Seed = seed
			runOn(t, s, cfg, b.name, 40)
			return s.trace
		}
		first := trace(7)
		require.NotEmpty(t, first, b.name)
		require.Equal(t, first, trace(7), b.name)
		if b.name != "readseq" && b.name != "readreverse" {
			require.NotEqual(t, first, trace(8), b.name)
		}
	}
	first := rngFor(1, "a", 1, 0, 0).Uint64()
	require.NotEqual(t, first, rngFor(1, "a", 1, 1, 0).Uint64())
	require.NotEqual(t, first, rngFor(1, "a", 1, 0, 1).Uint64())
	require.NotEqual(t, first, rngFor(1, "b", 1, 0, 0).Uint64())
	require.NotEqual(t, first, rngFor(1, "a", 4, 0, 0).Uint64(), "the keys of one thread are in the caches already")
}

func TestReadsCountWhatTheyFind(t *testing.T) {
	s := newMapStore()
	cfg := testConfig()
	runOn(t, s, cfg, "fillseq", 25) // half of the key space
	res := runOn(t, s, cfg, "readrandom", 400)
	require.InDelta(t, 200, res.Found, 60)
	require.EqualValues(t, res.Found*18, res.Bytes)
	require.Zero(t, runOn(t, s, cfg, "readmissing", 100).Found)
}

func TestReadSeqStartsAgainAtTheEnd(t *testing.T) {
	for name, first := range map[string]string{"readseq": "at 00000000", "readreverse": "at 00000049"} {
		s := newMapStore()
		cfg := testConfig()
		runOn(t, s, cfg, "fillseq", 50)
		s.trace = nil
		res := runOn(t, s, cfg, name, 120)
		require.EqualValues(t, 120, res.Found)
		require.Equal(t, first, s.trace[0])
		require.Equal(t, s.trace[:50], s.trace[50:100], name)
	}
}

func TestReadSeqOfNothingIsAnError(t *testing.T) {
	r := &runner{cfg: testConfig(), store: newMapStore(), cancelled: new(atomic.Bool),
		values: newValuePool(rand.New(rand.NewPCG(1, 0)), 10, 1), spec: rowSpec{benchmark: findBenchmark("readseq"), threads: 1, maxOps: 5}}
	_, err := r.run(func(progress) {})
	require.ErrorIs(t, err, errEmptyStore)
}

func TestSeekRandomReadsOn(t *testing.T) {
	s := newMapStore()
	cfg := testConfig()
	runOn(t, s, cfg, "fillseq", 50)
	res := runOn(t, s, cfg, "seekrandom", 100)
	require.Greater(t, res.Found, int64(250), "each seek is followed by two entries unless the keys end")
	require.LessOrEqual(t, res.Found, int64(300))
}

func TestPrimingLeavesNoData(t *testing.T) {
	for _, state := range []logState{logFresh, logRecycled} {
		s := newMapStore()
		require.NoError(t, primeLogs(s, state, 1<<20, new(atomic.Bool)))
		require.NotEmpty(t, s.trace, state)
		require.Empty(t, s.data, state)
	}
	s := newMapStore()
	require.NoError(t, primeLogs(s, logAny, 1<<20, new(atomic.Bool)))
	require.Empty(t, s.trace)

	var cancelled atomic.Bool
	cancelled.Store(true)
	require.ErrorIs(t, primeLogs(s, logFresh, 1<<20, &cancelled), errCancelled)
	require.ErrorIs(t, settle(s, &cancelled), errCancelled)
}

// An operation of the loop must not allocate: what is measured is the store.
func TestOperationsDoNotAllocate(t *testing.T) {
	r := &runner{cfg: testConfig(), store: nullStore{newMapStore()}, cancelled: new(atomic.Bool),
		values: newValuePool(rand.New(rand.NewPCG(1, 0)), 10, 1), spec: rowSpec{threads: 1, maxOps: 1 << 40}}
	for _, name := range []string{"fillseq", "fillrandom", "readrandom", "readmissing", "deleterandom"} {
		r.spec.benchmark, r.workers = findBenchmark(name), nil
		ops, err := r.start()
		require.NoError(t, err)
		c := clock{time.Now()}
		last := c.now()
		allocs := testing.AllocsPerRun(1000, func() {
			if err := ops[0](); err != nil {
				t.Fatal(err)
			}
			now := c.now()
			r.workers[0].record(int64(now - last))
			last = now
		})
		require.Zero(t, allocs, name)
	}
}

// nullStore accepts everything and holds nothing.
type nullStore struct{ *mapStore }

func (nullStore) getAppend(dst, _ []byte) ([]byte, error) { return append(dst, "0123456789"...), nil }
func (nullStore) set(_, _ []byte, _ bool) error           { return nil }
func (nullStore) delete(_ []byte, _ bool) error           { return nil }

func TestParseBenchmarks(t *testing.T) {
	rows, err := parseBenchmarks("fillseq, fillsync,,readrandom")
	require.NoError(t, err)
	var names []string
	for _, b := range rows {
		names = append(names, b.name)
	}
	require.Equal(t, []string{"fillseq", "fillsync", "fillsync-recycled", "readrandom"}, names)

	for _, list := range []string{"fillseqq", "", ",", "fillseq;readseq"} {
		_, err := parseBenchmarks(list)
		require.ErrorIs(t, err, errUsage, list)
		require.ErrorContains(t, err, "seekrandom", "the error lists what is known")
	}
	for _, name := range []string{"fillseq", "fillrandom", "fillsync", "overwrite", "readrandom", "readseq", "readreverse",
		"readmissing", "seekrandom", "readwhilewriting", "deleterandom"} {
		require.NotNil(t, findBenchmark(name), name)
	}
	_, err = parseBenchmarks(defaultBenchmarks)
	require.NoError(t, err)
}

func TestWorkerStopsAtItsLimits(t *testing.T) {
	w := &worker{maxOps: 1 << 40, hist: newHistogram()}
	var stop atomic.Bool
	n := 0
	_, err := w.run(func() error { n++; return nil }, clock{time.Now().Add(-time.Second)}, time.Nanosecond, &stop)
	require.NoError(t, err)
	require.Equal(t, 1, n, "the time was up before the first operation")

	stop.Store(true)
	_, err = w.run(func() error { n++; return nil }, clock{time.Now()}, 0, &stop)
	require.NoError(t, err)
	require.Equal(t, 2, n)

	_, err = w.run(func() error { return errEmptyStore }, clock{time.Now()}, 0, &stop)
	require.ErrorIs(t, err, errEmptyStore)
}

func TestRecordKeepsTheExactMaximum(t *testing.T) {
	w := &worker{hist: newHistogram()}
	w.record(0)
	w.record(2 * histMaxNs)
	w.record(1000)
	require.Equal(t, 2*histMaxNs, w.maxNs)
	require.EqualValues(t, 3, w.hist.TotalCount())
}

// Rows that load data run once; those that read it, and those that have a store of their own, with each number of threads.
func TestPlanRows(t *testing.T) {
	rows, err := parseBenchmarks("fillrandom,fillsync,overwrite,readrandom,deleterandom")
	require.NoError(t, err)
	var titles []string
	for _, p := range planRows(rows, []int{1, 16}) {
		titles = append(titles, p.title())
	}
	require.Equal(t, []string{"fillrandom", "fillsync", "fillsync x16", "fillsync-recycled", "fillsync-recycled x16", "overwrite",
		"readrandom", "readrandom x16", "deleterandom"}, titles)
}

// The writer beside the readers writes as many bytes as it may, and what is reported are writes, not bursts of them.
func TestWriterBesideKeepsItsRate(t *testing.T) {
	w := &worker{store: nullStore{newMapStore()}, rng: rngFor(1, "x", 1, 0, 0), values: newValuePool(rngFor(1, "y", 1, 0, 0), 92, 1),
		key: make([]byte, 8), num: 50, valueSize: 92, writeRate: 1 << 20}
	begin := time.Now()
	op, err := startWriterBeside(w)
	require.NoError(t, err)
	const bursts = 6
	for range bursts {
		require.NoError(t, op())
	}
	require.GreaterOrEqual(t, w.bytes, int64(bursts*pacedBurst))
	due := time.Duration(float64(w.bytes) / float64(w.writeRate) * float64(time.Second))
	require.GreaterOrEqual(t, time.Since(begin), due, "no faster than asked")
}
