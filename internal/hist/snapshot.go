package hist

// Snapshot is a histogram at one moment. The zero value is an empty one.
type Snapshot struct {
	Count uint64
	Sum   int64 // nanoseconds
	Max   int64 // nanoseconds

	counts []uint64
}

// Merge adds the values of another snapshot.
func (s *Snapshot) Merge(o Snapshot) {
	if o.counts == nil {
		return
	}
	if s.counts == nil {
		s.counts = make([]uint64, numBuckets)
	}
	for i, n := range o.counts {
		s.counts[i] += n
	}
	s.Count += o.Count
	s.Sum += o.Sum
	s.Max = max(s.Max, o.Max)
}

// Since gives the values recorded after an earlier snapshot of the same histogram. Max remains that of the whole time.
func (s Snapshot) Since(earlier Snapshot) Snapshot {
	if earlier.counts == nil || s.counts == nil {
		return s
	}
	d := Snapshot{Count: s.Count - earlier.Count, Sum: s.Sum - earlier.Sum, Max: s.Max, counts: make([]uint64, numBuckets)}
	for i := range d.counts {
		d.counts[i] = s.counts[i] - earlier.counts[i]
	}
	return d
}

// Mean is the average in nanoseconds, 0 when nothing was recorded.
func (s Snapshot) Mean() int64 {
	if s.Count == 0 {
		return 0
	}
	return s.Sum / int64(s.Count)
}

// Quantile is the value in nanoseconds that the fraction q (0 to 1) of all values do not exceed, rounded up by at
// most 3.2 %; 0 when nothing was recorded.
func (s Snapshot) Quantile(q float64) int64 {
	if s.Count == 0 {
		return 0
	}
	rank := uint64(q * float64(s.Count))
	rank = min(max(rank, 1), s.Count)
	var seen uint64
	for i, n := range s.counts {
		if seen += n; seen >= rank {
			return min(upper(i), s.Max)
		}
	}
	return s.Max
}
