package nvmebdev

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

const (
	benchSize = 256 << 20
	benchIO   = 4096
)

// BenchmarkChannel is one goroutine on a private queue, random offsets, a buffer per request: driver, software controller
// and copy together.
func BenchmarkChannel(b *testing.B) {
	for _, op := range []bdev.Op{bdev.OpRead, bdev.OpWrite} {
		for _, depth := range []int{1, 32} {
			b.Run(fmt.Sprintf("%v/depth%d", op, depth), func(b *testing.B) { benchChannel(b, op, depth) })
		}
	}
}

func benchChannel(b *testing.B, op bdev.Op, depth int) {
	d := openSim(b, SimConfig{Size: benchSize}, bdev.Options{})
	fillAll(b, d)
	c, err := d.OpenChannel()
	require.NoError(b, err)
	rng := rand.New(rand.NewPCG(1, 2))
	rs, done := make([]*bdev.Request, depth), make([]*bdev.Request, depth)
	for i := range rs {
		rs[i] = bdev.GetRequest()
		rs[i].Op, rs[i].Buf = op, dmabuf.Default.Get(benchIO)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += depth {
		for _, r := range rs {
			r.Offset = int64(rng.Uint64()%(benchSize/benchIO)) * benchIO
		}
		if c.Submit(rs) != depth || c.Poll(done) != depth {
			b.Fatal("requests are missing")
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
	for _, r := range rs {
		require.NoError(b, r.Err())
		dmabuf.Default.Put(r.Buf)
	}
	require.NoError(b, c.Close())
	require.NoError(b, d.Close())
}

func fillAll(b *testing.B, d *bdev.Device) {
	p := make([]byte, 1<<20)
	for i := range p {
		p[i] = byte(i)
	}
	for off := int64(0); off < d.Size(); off += int64(len(p)) {
		require.NoError(b, d.Write(p, off))
	}
}

// BenchmarkRead is the synchronous path of one goroutine, into memory of the Go heap: one bounce.
func BenchmarkRead(b *testing.B) {
	d := openSim(b, SimConfig{Size: benchSize}, bdev.Options{})
	fillAll(b, d)
	rng := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, benchIO)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := d.Read(p, int64(rng.Uint64()%(benchSize/benchIO))*benchIO); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	require.NoError(b, d.Close())
}
