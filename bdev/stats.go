package bdev

import (
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/internal/hist"
)

// Stats counts the requests of a device per operation since it was opened. Pieces of split requests and the core's own
// I/O are not counted.
type Stats struct {
	ops [numOps]OpStats
}

// OpStats counts one operation. Latency.Count is the number of requests, failed ones included.
type OpStats struct {
	Bytes   uint64 // of requests without error
	Errors  uint64
	Latency hist.Snapshot // from submission to completion, in nanoseconds
}

// Of gives the figures of one operation.
func (s *Stats) Of(o Op) OpStats { return s.ops[o] }

// Since gives the figures from an earlier snapshot of the same device to this one.
func (s *Stats) Since(earlier Stats) Stats {
	var d Stats
	for i := range s.ops {
		now, then := &s.ops[i], &earlier.ops[i]
		d.ops[i] = OpStats{Bytes: now.Bytes - then.Bytes, Errors: now.Errors - then.Errors, Latency: now.Latency.Since(then.Latency)}
	}
	return d
}

func (s *Stats) merge(o *stats) {
	for i := range s.ops {
		if c := o.ops[i].Load(); c != nil {
			s.ops[i].Bytes += c.bytes.Load()
			s.ops[i].Errors += c.errors.Load()
			s.ops[i].Latency.Merge(c.latency.Snapshot())
		}
	}
}

// Stats returns the present figures.
func (d *Device) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.mu.retired
	for i := range s.ops {
		var own hist.Snapshot
		own.Merge(s.ops[i].Latency)
		s.ops[i].Latency = own
	}
	for _, c := range d.shared {
		s.merge(&c.stats)
	}
	for c := range d.mu.channels {
		s.merge(&c.stats)
	}
	return s
}

// stats are the live counters of one channel. Any goroutine may record and read.
type stats struct {
	ops [numOps]atomic.Pointer[opCounters]
}

type opCounters struct {
	bytes, errors atomic.Uint64
	latency       hist.Histogram
}

// of makes the counters of an operation when it is used first: most never are.
func (s *stats) of(o Op) *opCounters {
	if c := s.ops[o].Load(); c != nil {
		return c
	}
	s.ops[o].CompareAndSwap(nil, new(opCounters))
	return s.ops[o].Load()
}

func (s *stats) record(o Op, bytes int64, latency time.Duration, err error) {
	s.recordRun(o, 1, bytes, latency, err)
}

// recordRun records n requests that took equally long, bytes in total.
func (s *stats) recordRun(o Op, n int, bytes int64, latency time.Duration, err error) {
	if o >= numOps {
		return
	}
	c := s.of(o)
	if err != nil {
		c.errors.Add(uint64(n))
	} else {
		c.bytes.Add(uint64(bytes))
	}
	c.latency.RecordN(int64(latency), uint64(n))
}
