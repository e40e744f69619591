package bdevtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

var concurrentCases = []testCase{
	{"ConcurrentVerify", testConcurrent},
	{"ConcurrentOneProcessor", testOneProcessor},
	{"ConcurrentFlush", testConcurrentFlush},
	{"ConcurrentBounce", testConcurrentBounce},
}

const workers = 12

func testConcurrent(t *testing.T, d *bdev.Device) { concurrently(t, d, 80) }

func testOneProcessor(t *testing.T, d *bdev.Device) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	concurrently(t, d, 30)
}

// concurrently has every worker do random I/O in a part of its own and compare with a model of it.
func concurrently(t *testing.T, d *bdev.Device, rounds int) {
	rng := newRand(t)
	part := min(d.Size(), 16<<20) / workers / int64(d.BlockSize()) * int64(d.BlockSize())
	var wg sync.WaitGroup
	for i := range workers {
		w := &worker{d: d, base: int64(i) * part, model: make([]byte, part), rng: rand.New(rand.NewPCG(rng.Uint64(), 0))}
		wg.Go(func() {
			if err := w.run(rounds); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

type worker struct {
	d     *bdev.Device
	base  int64
	model []byte
	rng   *rand.Rand
}

func (w *worker) run(rounds int) error {
	if err := w.d.WriteZeroes(w.base, int64(len(w.model))); err != nil {
		return err
	}
	for range rounds {
		if err := w.step(); err != nil {
			return err
		}
	}
	return w.verify(0, len(w.model))
}

// span draws a range, in bytes within the part.
func (w *worker) span() (off, n int) {
	bs := w.d.BlockSize()
	blocks := len(w.model) / bs
	n = 1 + w.rng.IntN(min(blocks, 16))
	off = w.rng.IntN(blocks - n + 1)
	return off * bs, n * bs
}

func (w *worker) step() error {
	off, n := w.span()
	switch w.rng.IntN(10) {
	case 0:
		return w.d.Flush()
	case 1:
		clear(w.model[off : off+n])
		return w.d.WriteZeroes(w.base+int64(off), int64(n))
	case 2, 3, 4, 5:
		return w.write(off, n)
	case 6:
		return w.writeSeveral()
	}
	return w.verify(off, n)
}

// memory is aligned or not.
func (w *worker) memory(n int) []byte {
	if w.rng.IntN(4) == 0 {
		return misaligned(n)
	}
	return aligned(n)
}

func (w *worker) write(off, n int) error {
	p := w.memory(n)
	pattern(p, w.base+int64(off), w.rng.Uint64())
	copy(w.model[off:], p)
	return w.d.Write(p, w.base+int64(off))
}

// writeSeveral has several writes of different blocks in flight.
func (w *worker) writeSeveral() error {
	bs := w.d.BlockSize()
	var rs [8]*bdev.Request
	for i := range rs {
		off := (w.rng.IntN(len(w.model)/bs/len(rs))*len(rs) + i) * bs
		rs[i] = request(bdev.OpWrite, w.base+int64(off), w.memory(bs))
		pattern(rs[i].Buf, w.base+int64(off), w.rng.Uint64())
		copy(w.model[off:], rs[i].Buf)
		w.d.Submit(rs[i])
	}
	var failed error
	for _, r := range rs {
		if err := w.d.Wait(r); err != nil {
			failed = err
		}
		bdev.PutRequest(r)
	}
	return failed
}

func (w *worker) verify(off, n int) error {
	p := w.memory(n)
	if err := w.d.Read(p, w.base+int64(off)); err != nil {
		return err
	}
	if want := w.model[off : off+n]; !bytes.Equal(p, want) {
		return fmt.Errorf("range at %d, %d bytes: first difference at byte %d", w.base+int64(off), n, firstDifference(want, p))
	}
	return nil
}

func testConcurrentFlush(t *testing.T, d *bdev.Device) {
	bs := d.BlockSize()
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			off := int64(i * bs)
			for g := range uint64(8) {
				if err := d.Write(newPattern(bs, off, g), off); err != nil {
					t.Error(err)
				}
				if err := d.Flush(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	expectPattern(t, d, 32*bs, 0, 7)
	stats := d.Stats()
	require.EqualValues(t, 32*8, stats.Of(bdev.OpFlush).Latency.Count)
}

// testConcurrentBounce asks for more device memory at once than there is.
func testConcurrentBounce(t *testing.T, d *bdev.Device) {
	const n, count = 1 << 20, 48
	slots := int64(MinSize / n)
	rs := make([]*bdev.Request, count)
	for i := range rs {
		rs[i] = request(bdev.OpWrite, int64(i)%slots*n, misaligned(n))
		pattern(rs[i].Buf, rs[i].Offset, 6)
	}
	for _, r := range rs {
		d.Submit(r)
	}
	for _, r := range rs {
		require.NoError(t, d.Wait(r))
		bdev.PutRequest(r)
	}
	expectPattern(t, d, int(slots*n), 0, 6)
}
