package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/bdev"
)

// perfWorker is one thread of a run. Its counters are read by the progress line, so they are published per batch.
type perfWorker struct {
	run      *perfRun
	index    int
	rng      *rand.Rand
	next     int64 // next block of a sequential workload
	end      int64 // block at which a sequential workload wraps
	slots    []perfSlot
	ios      counter
	verified uint64
}

// perfSlot is one I/O that is always in flight.
type perfSlot struct {
	req     *bdev.Request
	started time.Duration
	block   int64
}

// work runs one thread: with one I/O in flight on the device's shared channels, as a store does, with more on a
// channel of its own.
func (w *perfWorker) work(ctx context.Context) error {
	if w.run.depth == 1 {
		return w.workShared(ctx)
	}
	ch, err := w.run.dev.OpenChannel()
	if err != nil {
		return err
	}
	err = w.workChannel(ctx, ch)
	return errors.Join(err, ch.Close())
}

// workShared does one I/O at a time.
func (w *perfWorker) workShared(ctx context.Context) error {
	s := &w.slots[0]
	for first := true; first || ctx.Err() == nil; first = false { // one at least, however late this goroutine ran
		w.prepare(s)
		begin := now()
		err := w.run.dev.Do(s.req)
		if err == nil && w.run.flushEach {
			err = w.run.dev.Flush()
		}
		w.run.latency.Record(int64(now() - begin))
		if err != nil {
			return err
		}
		if err := w.check(s); err != nil {
			return err
		}
		w.ios.add(1)
	}
	return nil
}

// workChannel keeps depth I/Os in flight; both clock and counters are read once per batch.
func (w *perfWorker) workChannel(ctx context.Context, ch *bdev.Channel) error {
	batch := make([]*bdev.Request, 0, len(w.slots))
	for i := range w.slots {
		w.prepare(&w.slots[i])
		batch = append(batch, w.slots[i].req)
	}
	done := make([]*bdev.Request, len(w.slots))
	inFlight := 0
	var failed error
	for len(batch) > 0 || inFlight > 0 {
		inFlight += w.submit(ch, &batch)
		n := ch.Wait(done)
		t := now()
		inFlight -= n
		w.ios.add(uint64(n))
		stopping := failed != nil || ctx.Err() != nil
		if stopping {
			batch = batch[:0]
		}
		for _, r := range done[:n] {
			s := &w.slots[r.Tag]
			w.run.latency.Record(int64(t - s.started))
			if err := w.finish(s); err != nil && failed == nil {
				failed, batch, stopping = err, batch[:0], true
			}
			if !stopping {
				w.prepare(s)
				batch = append(batch, r)
			}
		}
	}
	return failed
}

// finish is what became of an I/O. One that failed has no content to check.
func (w *perfWorker) finish(s *perfSlot) error {
	if err := s.req.Err(); err != nil {
		return err
	}
	return w.check(s)
}

// submit hands as much of the batch to the channel as it takes.
func (w *perfWorker) submit(ch *bdev.Channel, batch *[]*bdev.Request) int {
	b := *batch
	t := now()
	for _, r := range b {
		w.slots[r.Tag].started = t
	}
	n := ch.Submit(b)
	*batch = b[:copy(b, b[n:])]
	return n
}

// prepare chooses the slot's next I/O.
func (w *perfWorker) prepare(s *perfSlot) {
	r := s.req
	if w.run.rw == "flush" {
		r.Op = bdev.OpFlush
		return
	}
	s.block = w.nextBlock()
	r.Offset = s.block * int64(w.run.blockSize)
	r.Op = bdev.OpRead
	if w.run.writes() && (w.run.rw != "randrw" || int(w.rng.Uint32N(100)) >= w.run.readShare) {
		r.Op = bdev.OpWrite
	}
	if w.run.verify && r.Op == bdev.OpWrite {
		w.run.pattern.fill(r.Buf, r.Offset)
	}
}

func (w *perfWorker) nextBlock() int64 {
	if w.run.random() {
		return w.rng.Int64N(w.run.blocks())
	}
	b := w.next
	if w.next++; w.next >= w.end {
		w.next = w.end - w.run.blocks()/int64(w.run.threads)
	}
	return b
}

var epoch = time.Now()

// now is the monotonic clock.
func now() time.Duration { return time.Since(epoch) }

// counter is written by one worker and read by the progress line. The padding keeps workers off each other's lines.
type counter struct {
	n atomic.Uint64
	_ [56]byte
}

func (c *counter) add(n uint64) { c.n.Store(c.n.Load() + n) }
func (c *counter) load() uint64 { return c.n.Load() }
