package nvme_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/spec"
)

// BenchmarkRead4K measures submitting and polling 4 KiB reads on the software controller. driver-ns/op is the driver's own
// cost: the time of a read less that of the controller, which then carries out the same commands, still in the submission
// queue, on doorbells alone. Both alternate in slices, so that a machine that slows down slows both.
func BenchmarkRead4K(b *testing.B) {
	for _, depth := range []int{1, 32} {
		b.Run(fmt.Sprintf("depth%d", depth), func(b *testing.B) { benchRead(b, depth) })
	}
}

const benchSlice = 32 << 10

func benchRead(b *testing.B, depth int) {
	r := newRig(b, setup{})
	reqs := make([]*nvme.Request, depth)
	for i := range reqs {
		reqs[i] = &nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: uint64(8 * i), Buf: r.buf(4096, nil)}
	}
	done := make([]*nvme.Request, depth)
	drive := func(n int) {
		for i := 0; i < n; i += depth {
			if r.q.Submit(reqs) != depth {
				b.Fatal("the queue is full")
			}
			for got := 0; got < depth; {
				got += r.q.Poll(done)
			}
		}
	}
	drive(benchSlice)
	entries := r.q.Entries()
	tail, head := r.q.Tail(), r.q.Head()
	require.Equal(b, tail, head, "the slices do not leave the rings where they were")
	alone := func(n int) {
		unheard := uint32(0)
		for i := 0; i < n; i += depth {
			tail = (tail + uint32(depth)) % entries
			_ = r.tr.Store32(spec.SubmissionDoorbell(1, 0), tail)
			if unheard += uint32(depth); unheard >= entries/4 {
				_ = r.tr.Store32(spec.CompletionDoorbell(1, 0), tail)
				unheard = 0
			}
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	var driver, device time.Duration
	for left := b.N; left > 0; left -= benchSlice {
		// A slice passes the ring a whole even number of times: the phase tags end as they began.
		start := time.Now()
		drive(benchSlice)
		middle := time.Now()
		b.StopTimer()
		alone(benchSlice)
		device += time.Since(middle)
		driver += middle.Sub(start)
		b.StartTimer()
	}
	n := float64((b.N + benchSlice - 1) / benchSlice * benchSlice)
	b.ReportMetric(float64((driver-device).Nanoseconds())/n, "driver-ns/op")
	b.ReportMetric(float64(device.Nanoseconds())/n, "device-ns/op")
}
