package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
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
	case !slices.Contains(perfWorkloads, p.rw):
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

// perfRun is a run under way.
type perfRun struct {
	perfConfig
	dev     *bdev.Device
	latency hist.Histogram
	pattern pattern
	stop    context.Context
	workers []*perfWorker
	touched []atomic.Uint64 // under verify: bitmap of the blocks that were written
}

// newPerfRun makes the workers and their buffers.
func newPerfRun(ctx context.Context, dev *bdev.Device, p perfConfig) (*perfRun, error) {
	run := &perfRun{perfConfig: p, dev: dev, stop: ctx, pattern: pattern{p.seed}}
	if p.verify {
		run.touched = make([]atomic.Uint64, (p.blocks()+63)/64)
	}
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
