package hist

import (
	"math"
	"math/rand/v2"
	"sort"
	"sync"
	"testing"
)

func TestBucketsAreContiguous(t *testing.T) {
	for i := range numBuckets - 1 {
		if index(uint64(upper(i))) != i || index(uint64(upper(i))+1) != i+1 {
			t.Fatalf("bucket %d ends at %d: index %d, next %d", i, upper(i), index(uint64(upper(i))), index(uint64(upper(i))+1))
		}
	}
	if index(math.MaxInt64) != numBuckets-1 {
		t.Fatal("huge values belong to the last bucket")
	}
}

func TestQuantilesAgainstSort(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var h Histogram
	values := make([]int64, 20000)
	for i := range values {
		values[i] = int64(math.Exp(rng.Float64() * 20))
		h.Record(values[i])
	}
	sort.Slice(values, func(i, j int) bool { return values[i] < values[j] })
	s := h.Snapshot()
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := values[max(int(q*float64(len(values))), 1)-1]
		got := s.Quantile(q)
		if got < want || float64(got) > float64(want)*1.032+1 {
			t.Errorf("q %v: got %d, want %d", q, got, want)
		}
	}
	if s.Max != values[len(values)-1] || s.Quantile(1) != s.Max {
		t.Errorf("max %d, want %d", s.Max, values[len(values)-1])
	}
}

func TestConcurrentAndMerge(t *testing.T) {
	var h Histogram
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for range 1000 {
				h.Record(int64(g))
			}
		})
	}
	wg.Wait()
	first := h.Snapshot()
	var all Snapshot
	all.Merge(first)
	all.Merge(first)
	if first.Count != 8000 || first.Sum != 28000 || all.Count != 16000 || all.Mean() != 3 || all.Max != 7 {
		t.Fatalf("%+v %+v", first.Count, all.Count)
	}
	h.Record(-5)
	if d := h.Snapshot().Since(first); d.Count != 1 || d.Quantile(1) != 0 {
		t.Fatalf("since: %d values, q1 %d", d.Count, d.Quantile(1))
	}
	if n := testing.AllocsPerRun(100, func() { h.Record(77) }); n != 0 {
		t.Fatalf("%v allocations per Record", n)
	}
}

func TestEmpty(t *testing.T) {
	var s Snapshot
	s.Merge(Snapshot{})
	if s.Quantile(0.5) != 0 || s.Mean() != 0 {
		t.Fatal("an empty snapshot answers 0")
	}
}
