package hist

import (
	"math/bits"
	"sync/atomic"
)

const (
	subBits    = 5
	subBuckets = 1 << subBits
	maxExp     = 42 // values of 2^43 ns (2.4 hours) and more share the last bucket
	numBuckets = (maxExp - subBits + 2) * subBuckets
)

// Histogram counts values by size. The zero value is ready to use.
type Histogram struct {
	sum     atomic.Int64
	max     atomic.Int64
	buckets [numBuckets]atomic.Uint64
}

// Record adds one value, in nanoseconds. Negative values count as 0.
func (h *Histogram) Record(ns int64) { h.RecordN(ns, 1) }

// RecordN adds the same value n times.
func (h *Histogram) RecordN(ns int64, n uint64) {
	if ns < 0 {
		ns = 0
	}
	h.buckets[index(uint64(ns))].Add(n)
	h.sum.Add(ns * int64(n))
	for max := h.max.Load(); ns > max; max = h.max.Load() {
		if h.max.CompareAndSwap(max, ns) {
			return
		}
	}
}

// index is the bucket of a value: values below 32 have one each, above that the five bits after the leading one
// choose among 32 buckets of the power of two.
func index(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	exp := bits.Len64(v) - 1
	if exp > maxExp {
		return numBuckets - 1
	}
	sub := int(v>>(exp-subBits)) & (subBuckets - 1)
	return (exp-subBits+1)*subBuckets + sub
}

// upper is the largest value of a bucket.
func upper(i int) int64 {
	if i < subBuckets {
		return int64(i)
	}
	exp := i/subBuckets + subBits - 1
	sub := int64(i%subBuckets) + 1
	return 1<<exp + sub<<(exp-subBits) - 1
}

// Snapshot copies what has been recorded so far. Values recorded meanwhile may be in or out.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Sum: h.sum.Load(), Max: h.max.Load(), counts: make([]uint64, numBuckets)}
	for i := range h.buckets {
		n := h.buckets[i].Load()
		s.counts[i] = n
		s.Count += n
	}
	return s
}
