package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/internal/hist"
	"github.com/blobkv/blobkv/internal/procstat"
)

// perfConfig is one run of bdev perf.
type perfConfig struct {
	rw        string // read write randread randwrite randrw flush
	readShare int    // percent of reads in randrw
	flushEach bool   // flush after every write
	blockSize int    // bytes of one I/O
	depth     int    // I/Os each thread keeps in flight
	threads   int
	duration  time.Duration
	verify    bool
	span      int64 // bytes from the start of the device that are used
	seed      uint64
}

var perfWorkloads = []string{"read", "write", "randread", "randwrite", "randrw", "flush"}

func (p *perfConfig) writes() bool { return p.rw == "write" || p.rw == "randwrite" || p.rw == "randrw" }
func (p *perfConfig) random() bool {
	return p.rw == "randread" || p.rw == "randwrite" || p.rw == "randrw"
}

// blocks is the number of I/O-sized pieces of the span.
func (p *perfConfig) blocks() int64 { return p.span / int64(p.blockSize) }

func (p *perfConfig) validate(dev *bdev.Device) error {
	props := dev.Properties()
	switch {
	case !contains(perfWorkloads, p.rw):
		return usagef("--rw %q: want one of %v", p.rw, perfWorkloads)
	case p.blockSize <= 0 || p.blockSize%props.BlockSize != 0:
		return usagef("--bs %d: want a multiple of the device's block size %d", p.blockSize, props.BlockSize)
	case p.depth < 1 || p.depth > 4096:
		return usagef("--iodepth %d: want 1 to 4096", p.depth)
	case p.threads < 1 || p.threads > 4096:
		return usagef("--threads %d: want 1 to 4096", p.threads)
	case p.flushEach && p.rw != "write" && p.rw != "randwrite":
		return usagef("--flush-each goes with --rw write or randwrite")
	case (p.flushEach || p.rw == "flush") && p.depth > 1:
		return usagef("--iodepth %d: flushes run one at a time per thread, use --threads", p.depth)
	case p.verify && p.rw == "flush":
		return usagef("--verify needs reads or writes")
	case p.readShare < 0 || p.readShare > 100:
		return usagef("--rwmix %d: want 0 to 100 percent reads", p.readShare)
	case p.blocks() < int64(p.threads*p.depth):
		return usagef("%s holds %d pieces of %d bytes, fewer than the %d in flight", dev.Name(), p.blocks(), p.blockSize, p.threads*p.depth)
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// perfResult is what a run measured. The JSON names are stable.
type perfResult struct {
	Device     string  `json:"device"`
	RW         string  `json:"rw"`
	BlockSize  int     `json:"bs"`
	Depth      int     `json:"iodepth"`
	Threads    int     `json:"threads"`
	Policy     string  `json:"policy"`
	Seconds    float64 `json:"seconds"`
	IOs        uint64  `json:"ios"`
	IOPS       float64 `json:"iops"`
	MBPerSec   float64 `json:"mb_per_sec"` // 10^6 bytes
	MeanUS     float64 `json:"mean_us"`
	P50US      float64 `json:"p50_us"`
	P99US      float64 `json:"p99_us"`
	P999US     float64 `json:"p999_us"`
	MaxUS      float64 `json:"max_us"`
	CPUPerIOUS float64 `json:"cpu_us_per_io"`
	Verified   uint64  `json:"verified,omitempty"` // pieces whose content was compared
	Seed       uint64  `json:"seed"`
	Note       string  `json:"note,omitempty"`
}

// perfRun is a run under way.
type perfRun struct {
	perfConfig
	dev     *bdev.Device
	latency hist.Histogram
	pattern pattern
	stop    context.Context
	workers []*perfWorker
}

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
	touched  []uint64 // blocks this worker wrote under verify, a bitmap over its own share
}

// perfSlot is one I/O that is always in flight.
type perfSlot struct {
	req     *bdev.Request
	started time.Duration
	block   int64
}

// start makes the workers and their buffers.
func newPerfRun(ctx context.Context, dev *bdev.Device, p perfConfig) (*perfRun, error) {
	run := &perfRun{perfConfig: p, dev: dev, stop: ctx, pattern: pattern{p.seed}}
	pool := dmabuf.NewPool(int64(p.threads) * int64(p.depth) * roundUpPow2(int64(p.blockSize)))
	share := p.blocks() / int64(p.threads)
	for i := range p.threads {
		w := &perfWorker{run: run, index: i, rng: rand.New(rand.NewPCG(p.seed, uint64(i)))}
		w.next, w.end = share*int64(i), share*int64(i+1)
		w.slots = make([]perfSlot, p.depth)
		for s := range w.slots {
			w.slots[s].req = bdev.GetRequest()
			w.slots[s].req.Tag = uint64(s)
			w.slots[s].req.Buf = pool.Get(p.blockSize)
			run.pattern.fill(w.slots[s].req.Buf, 0)
		}
		if p.verify {
			w.touched = make([]uint64, (p.blocks()+63)/64)
		}
		run.workers = append(run.workers, w)
	}
	return run, nil
}

func roundUpPow2(n int64) int64 {
	size := int64(4096)
	for size < n {
		size *= 2
	}
	return size
}

// execute runs the workload for its duration or until the context ends.
func (run *perfRun) execute(progress func(ios uint64, elapsed time.Duration)) (*perfResult, error) {
	ctx, cancel := context.WithTimeout(run.stop, run.duration)
	defer cancel()
	cpu, _ := procstat.ProcessCPU()
	begin := time.Now()
	var wg sync.WaitGroup
	errs := make([]error, len(run.workers))
	for i, w := range run.workers {
		wg.Go(func() {
			if errs[i] = w.work(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	run.report(finished, begin, progress)
	elapsed := time.Since(begin)
	after, cpuErr := procstat.ProcessCPU()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	r := run.result(elapsed)
	if cpuErr == nil && r.IOs > 0 {
		r.CPUPerIOUS = float64(after-cpu) / 1e3 / float64(r.IOs)
	}
	return r, nil
}

func (run *perfRun) report(finished chan struct{}, begin time.Time, progress func(uint64, time.Duration)) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			return
		case <-tick.C:
			progress(run.total(), time.Since(begin))
		}
	}
}

func (run *perfRun) total() (ios uint64) {
	for _, w := range run.workers {
		ios += w.ios.load()
	}
	return ios
}

func (run *perfRun) result(elapsed time.Duration) *perfResult {
	s := run.latency.Snapshot()
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	ios := run.total()
	r := &perfResult{
		Device: run.dev.Name(), RW: run.rw, BlockSize: run.blockSize, Depth: run.depth, Threads: run.threads,
		Seconds: elapsed.Seconds(), IOs: ios, Seed: run.seed, Note: run.dev.Properties().Note,
		MeanUS: us(s.Mean()), P50US: us(s.Quantile(0.5)), P99US: us(s.Quantile(0.99)), P999US: us(s.Quantile(0.999)), MaxUS: us(s.Max),
	}
	r.IOPS = float64(ios) / elapsed.Seconds()
	if run.rw != "flush" {
		r.MBPerSec = r.IOPS * float64(run.blockSize) / 1e6
	}
	for _, w := range run.workers {
		r.Verified += w.verified
	}
	return r
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
	for ctx.Err() == nil {
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
			if err := errors.Join(r.Err(), w.check(s)); err != nil && failed == nil {
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

// check compares a finished read with the pattern, and remembers a finished write for the pass that reads it back.
func (w *perfWorker) check(s *perfSlot) error {
	if !w.run.verify {
		return nil
	}
	if s.req.Op == bdev.OpWrite {
		w.touched[s.block/64] |= 1 << (s.block % 64)
		return nil
	}
	w.verified++
	return w.run.pattern.check(s.req.Buf, s.req.Offset)
}

// readBack verifies every block that a verifying run has written.
func (run *perfRun) readBack() (uint64, error) {
	var n uint64
	buf := dmabuf.Default.Get(run.blockSize)
	defer dmabuf.Default.Put(buf)
	for b := int64(0); b < run.blocks(); b++ {
		if run.stop.Err() != nil {
			return n, run.stop.Err()
		}
		if !run.touched(b) {
			continue
		}
		off := b * int64(run.blockSize)
		if err := run.dev.Read(buf, off); err != nil {
			return n, err
		}
		if err := run.pattern.check(buf, off); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (run *perfRun) touched(b int64) bool {
	for _, w := range run.workers {
		if w.touched[b/64]>>(b%64)&1 == 1 {
			return true
		}
	}
	return false
}

// prefill writes the pattern over the whole span, so that reads meet data and not holes.
func (run *perfRun) prefill(progress func(done, total int64)) error {
	const chunk = 1 << 20
	buf := dmabuf.Default.Get(chunk)
	defer dmabuf.Default.Put(buf)
	span := run.blocks() * int64(run.blockSize)
	for off := int64(0); off < span; off += chunk {
		if err := run.stop.Err(); err != nil {
			return err
		}
		part := buf[:min(chunk, span-off)]
		run.pattern.fill(part, off)
		if err := run.dev.Write(part, off); err != nil {
			return fmt.Errorf("filling before the run: %w", err)
		}
		progress(off+int64(len(part)), span)
	}
	return run.dev.Flush()
}
