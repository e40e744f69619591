package main

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/blobkv/blobkv/internal/procstat"
)

// rowSpec is one run of one row, as a request describes it.
type rowSpec struct {
	benchmark *benchmark
	run       int
	threads   int
	maxOps    int64
	limit     time.Duration // 0: none
	rotations int64         // of the log, after which the row ends; 0: none
}

// runner runs one row on an open store.
type runner struct {
	cfg   *engineConfig
	store store
	spec  rowSpec
	stop  atomic.Bool // set to end the row early

	cancelled *atomic.Bool // set when nobody wants the result any more
	values    *valuePool
	workers   []*worker
	extra     *worker // the goroutine that overwrites, nil without one
}

// How often progress is told, and how often the log is looked at in a row that ends with it: the log that comes after it
// should not be part of the row, and a small one is full in a tenth of a second.
const (
	progressInterval = 100 * time.Millisecond
	rotationInterval = 10 * time.Millisecond
)

// run measures the row. tell hears how far it is, from another goroutine.
func (r *runner) run(tell func(progress)) (result, error) {
	ops, err := r.start()
	if err != nil {
		return result{}, errors.Join(err, r.close())
	}
	runtime.GC() // what earlier rows left behind is not this one's to collect
	before := r.store.metrics()
	cpuBefore, err := procstat.ProcessCPU()
	if err != nil {
		return result{}, errors.Join(err, r.close())
	}
	elapsed, err := r.work(ops, before, tell)
	during := r.store.metrics() // before the drain makes one more log
	err = errors.Join(err, r.close())
	if err != nil {
		return result{}, err
	}
	tell(progress{Phase: "draining", Ops: r.done(), Seconds: elapsed.Seconds()})
	drain, err := r.drain()
	if err != nil {
		return result{}, err
	}
	cpuAfter, err := procstat.ProcessCPU()
	if err != nil {
		return result{}, err
	}
	res, err := r.result(elapsed, before)
	if err != nil {
		return result{}, err
	}
	res.Rotations, res.Recycled = during.logs-before.logs, during.recycled-before.recycled
	res.CPUSeconds = (cpuAfter - cpuBefore).Seconds()
	res.DrainSeconds = drain.Seconds()
	return res, nil
}

// start makes the goroutines' state and their operations.
func (r *runner) start() ([]func() error, error) {
	cfg, b := r.cfg, r.spec.benchmark
	threads := int64(r.spec.threads)
	var ops []func() error
	first := int64(0)
	for i := range threads {
		share := r.spec.maxOps / threads
		if i < r.spec.maxOps%threads {
			share++
		}
		w := r.newWorker(int(i))
		w.firstOp, w.maxOps = first, share
		first += share
		r.workers = append(r.workers, w)
		op, err := b.start(w)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	if b.extra != nil {
		r.extra = r.newWorker(r.spec.threads)
		r.extra.maxOps, r.extra.sync = 1<<63-1, cfg.Sync
		op, err := b.extra(r.extra)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func (r *runner) newWorker(thread int) *worker {
	cfg := r.cfg
	rng := rngFor(cfg.Seed, r.spec.benchmark.name, r.spec.threads, r.spec.run, thread)
	return &worker{
		store:     r.store,
		rng:       rng,
		values:    r.values.view(int(rng.Uint32N(valuePoolSize))),
		key:       make([]byte, cfg.KeySize, cfg.KeySize+1),
		buf:       make([]byte, 0, cfg.ValueSize),
		num:       cfg.Num,
		valueSize: cfg.ValueSize,
		seekNexts: cfg.SeekNexts,
		writeRate: cfg.WriteRate,
		sync:      r.spec.benchmark.durable(cfg.Sync),
		hist:      newHistogram(),
	}
}

// work runs all goroutines and returns how long the measured ones took.
func (r *runner) work(ops []func() error, before storeMetrics, tell func(progress)) (time.Duration, error) {
	var wg, extra sync.WaitGroup
	var stopExtra atomic.Bool
	ends := make([]time.Duration, len(ops))
	errs := make([]error, len(ops))
	c := clock{time.Now()}
	for i, w := range r.workers {
		wg.Go(func() {
			ends[i], errs[i] = w.run(ops[i], c, r.spec.limit, &r.stop)
			if errs[i] != nil {
				r.stop.Store(true)
			}
		})
	}
	if r.extra != nil {
		last := len(ops) - 1
		extra.Go(func() { _, errs[last] = r.extra.run(ops[last], c, 0, &stopExtra) })
	}
	finished := make(chan struct{})
	watch := sync.WaitGroup{}
	watch.Go(func() { r.watch(c, before, finished, tell) })
	wg.Wait()
	stopExtra.Store(true)
	extra.Wait()
	close(finished)
	watch.Wait()

	elapsed := time.Duration(0)
	for _, end := range ends[:len(r.workers)] {
		elapsed = max(elapsed, end)
	}
	return elapsed, errors.Join(errs...)
}

// watch tells the progress and stops a row that has rotated its log as often as it should.
func (r *runner) watch(c clock, before storeMetrics, finished <-chan struct{}, tell func(progress)) {
	interval := progressInterval
	if r.spec.rotations > 0 {
		interval = rotationInterval
	}
	t := time.NewTicker(interval)
	defer t.Stop()
	for told := time.Duration(0); ; {
		select {
		case <-finished:
			return
		case <-t.C:
		}
		if r.cancelled.Load() {
			r.stop.Store(true)
		}
		if now := c.now(); now-told >= progressInterval {
			told = now
			tell(progress{Phase: "running", Ops: r.done(), Seconds: now.Seconds()})
		}
		if n := r.spec.rotations; n > 0 && r.store.metrics().logs-before.logs >= n {
			r.stop.Store(true)
		}
	}
}

// done is the number of operations so far.
func (r *runner) done() int64 {
	n := int64(0)
	for _, w := range r.workers {
		n += w.done.Load()
	}
	return n
}

// drain waits until what the row has started is over, up to the disk, and returns how long that took.
func (r *runner) drain() (time.Duration, error) {
	start := time.Now()
	if r.spec.benchmark.writes || r.spec.benchmark.extra != nil {
		if err := r.store.flush(); err != nil {
			return 0, err
		}
	}
	if err := settle(r.store, r.cancelled); err != nil {
		return 0, err
	}
	err := r.cfg.Place.sync()
	return time.Since(start), err
}

func (r *runner) close() error {
	var errs []error
	for _, w := range r.workers {
		errs = append(errs, w.close())
	}
	return errors.Join(errs...)
}

// result merges what the goroutines have recorded.
func (r *runner) result(elapsed time.Duration, before storeMetrics) (result, error) {
	after := r.store.metrics()
	hist := newHistogram()
	res := result{
		Ops:           r.done(),
		Seconds:       elapsed.Seconds(),
		EngineWritten: after.written - before.written,
		StackWritten:  after.deviceWritten - before.deviceWritten,
		StackRead:     after.deviceRead - before.deviceRead,
		DataBytes:     after.dataBytes,
		CacheHits:     after.cacheHits - before.cacheHits,
		CacheMisses:   after.cacheMiss - before.cacheMiss,
		BlockHits:     after.blockHits - before.blockHits,
		BlockMisses:   after.blockMiss - before.blockMiss,
		WALSyncs:      after.walSyncs - before.walSyncs,
		WALSyncSecs:   (after.walSyncTime - before.walSyncTime).Seconds(),
	}
	maxNs := int64(0)
	for _, w := range r.workers {
		hist.Merge(w.hist)
		res.Found += w.found
		res.Bytes += w.bytes
		maxNs = max(maxNs, w.maxNs)
	}
	res.quantiles(hist)
	res.MaxUs = float64(maxNs) / nsPerUs
	if r.extra != nil {
		res.ExtraOps = r.extra.bytes / int64(r.cfg.KeySize+r.cfg.ValueSize)
	}
	res.ResidentBytes, _ = procstat.ProcessRSS() // 0 where it is not known
	encoded, err := hist.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	res.Hist = string(encoded)
	return res, err
}
