package mallocbdev

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

const (
	benchSize = 512 << 20
	benchIO   = 4096
	depth     = 32
)

// benchDevice is a device whose memory is all there.
func benchDevice(b *testing.B) *bdev.Device {
	d := open(b, Config{Size: benchSize}, bdev.Options{})
	p := make([]byte, 1<<20)
	for i := range p {
		p[i] = byte(i)
	}
	for off := int64(0); off < benchSize; off += int64(len(p)) {
		require.NoError(b, d.Write(p, off))
	}
	return d
}

// BenchmarkChannel is one goroutine on a private queue at depth 32, random offsets, a buffer per request.
func BenchmarkChannel(b *testing.B) {
	for _, op := range []bdev.Op{bdev.OpRead, bdev.OpWrite} {
		b.Run(op.String(), func(b *testing.B) {
			d := benchDevice(b)
			c, err := d.OpenChannel()
			require.NoError(b, err)
			rng := rand.New(rand.NewPCG(1, 2))
			rs, done := make([]*bdev.Request, depth), make([]*bdev.Request, depth)
			for i := range rs {
				rs[i] = bdev.GetRequest()
				rs[i].Op, rs[i].Buf = op, dmabuf.Default.Get(benchIO)
			}
			b.ResetTimer()
			b.ReportAllocs()
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
				dmabuf.Default.Put(r.Buf)
			}
			require.NoError(b, c.Close())
			require.NoError(b, d.Close())
		})
	}
}

// BenchmarkBareCopy is what the memory allows.
func BenchmarkBareCopy(b *testing.B) {
	g, err := dmabuf.NewRegion(benchSize)
	require.NoError(b, err)
	mem := g.Bytes()
	for i := range mem {
		mem[i] = byte(i)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	buf := dmabuf.Default.Get(depth * benchIO)
	defer dmabuf.Default.Put(buf)
	b.ResetTimer()
	for n := range b.N {
		off := int64(rng.Uint64()%(benchSize/benchIO)) * benchIO
		copy(buf[n%depth*benchIO:][:benchIO], mem[off:])
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
	require.NoError(b, g.Free())
}

// BenchmarkRead is the synchronous path of one goroutine.
func BenchmarkRead(b *testing.B) {
	d := benchDevice(b)
	rng := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, benchIO)
	b.ResetTimer()
	for range b.N {
		if err := d.Read(p, int64(rng.Uint64()%(benchSize/benchIO))*benchIO); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	require.NoError(b, d.Close())
}
