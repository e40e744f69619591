package main

import (
	"fmt"
	"io"
	"time"
)

// perfResult is what a run measured. The JSON names are stable.
type perfResult struct {
	Device      string  `json:"device"`
	RW          string  `json:"rw"`
	BlockSize   int     `json:"bs"`
	Depth       int     `json:"iodepth"`
	Threads     int     `json:"threads"`
	Policy      string  `json:"policy"`
	Seconds     float64 `json:"seconds"`
	IOs         uint64  `json:"ios"`
	IOPS        float64 `json:"iops"`
	MBPerSec    float64 `json:"mb_per_sec"` // 10^6 bytes
	MeanUS      float64 `json:"mean_us"`
	P50US       float64 `json:"p50_us"`
	P99US       float64 `json:"p99_us"`
	P999US      float64 `json:"p999_us"`
	MaxUS       float64 `json:"max_us"`
	CPUPerIOUS  float64 `json:"cpu_us_per_io"`
	Verified    uint64  `json:"verified,omitempty"` // pieces whose content was compared
	Seed        uint64  `json:"seed"`
	Interrupted bool    `json:"interrupted,omitempty"` // the user ended the run early
	Note        string  `json:"note,omitempty"`
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

func (r *perfResult) text(w io.Writer) {
	row(w, "device", r.Device)
	row(w, "workload", fmt.Sprintf("%s, %d bytes, %d threads, depth %d, policy %s, seed %d", r.RW, r.BlockSize, r.Threads, r.Depth, r.Policy, r.Seed))
	row(w, "I/O per second", fmt.Sprintf("%.0f (%d in %.2f s)", r.IOPS, r.IOs, r.Seconds))
	row(w, "MB per second", fmt.Sprintf("%.1f", r.MBPerSec))
	row(w, "latency µs", fmt.Sprintf("mean %.1f  p50 %.1f  p99 %.1f  p99.9 %.1f  max %.1f", r.MeanUS, r.P50US, r.P99US, r.P999US, r.MaxUS))
	row(w, "CPU µs per I/O", fmt.Sprintf("%.2f", r.CPUPerIOUS))
	if r.Verified > 0 {
		row(w, "verified", fmt.Sprintf("%d pieces, all right", r.Verified))
	}
	if r.Note != "" {
		row(w, "note", r.Note)
	}
}
