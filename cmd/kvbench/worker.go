package main

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The latency histograms: one per goroutine, merged at the end of the row.
const (
	histMaxNs  = int64(100 * time.Second) // longer operations count as this long; the maximum is kept apart, exactly
	histDigits = 2                        // significant decimal digits: quantiles are at most 1 % off
)

// worker is one goroutine of a row and all that its operations touch, so that an operation allocates nothing.
type worker struct {
	store     store
	rng       *rand.Rand
	values    *valuePool
	key       []byte
	buf       []byte
	num       int64 // keys are drawn from [0, num)
	valueSize int
	seekNexts int
	writeRate int64 // bytes per second, of the writer beside readers; 0: no limit
	sync      bool
	firstOp   int64 // number of this goroutine's first operation within the row
	maxOps    int64

	iterators []iterator
	hist      *hdrhistogram.Histogram
	maxNs     int64
	found     int64
	bytes     int64

	_    [64]byte     // the counter is read by another goroutine; keep it off the lines written with every operation
	done atomic.Int64 // operations so far
	_    [56]byte
}

// clock is the time since a row began.
type clock struct{ base time.Time }

func (c clock) now() time.Duration { return time.Since(c.base) }

// run carries out operations until there are maxOps of them, the clock reaches the limit (0: none), or stop is set. It
// returns when the last one ended. One reading of the clock per operation is the end of one and the start of the next.
func (w *worker) run(op func() error, c clock, limit time.Duration, stop *atomic.Bool) (time.Duration, error) {
	last := c.now()
	for n := int64(1); n <= w.maxOps; n++ {
		if err := op(); err != nil {
			return c.now(), err
		}
		now := c.now()
		w.record(int64(now - last))
		last = now
		w.done.Store(n)
		if stop.Load() || (limit > 0 && now >= limit) {
			break
		}
	}
	return last, nil
}

func (w *worker) record(ns int64) {
	w.maxNs = max(w.maxNs, ns)
	_ = w.hist.RecordValue(min(max(ns, 1), histMaxNs)) // within the histogram's range, so it cannot fail
}

// newIterator opens an iterator that close will close.
func (w *worker) newIterator() (iterator, error) {
	it, err := w.store.newIterator()
	if err == nil {
		w.iterators = append(w.iterators, it)
	}
	return it, err
}

func (w *worker) close() error {
	var errs []error
	for _, it := range w.iterators {
		errs = append(errs, it.Close())
	}
	w.iterators = nil
	return errors.Join(errs...)
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, histMaxNs, histDigits) }
