package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/blobkv/blobkv/internal/procstat"
)

// measurement is one run of one row by one engine, with what the machine did meanwhile.
type measurement struct {
	result
	sysCPUSeconds float64 // -1 where it is not known
	diskRead      int64   // bytes; -1 where it is not known
	diskWritten   int64
	pageCache     int64 // bytes the kernel could cache of the store; -1 where it is not known
}

func (m *measurement) opsPerSec() float64 { return perSecond(float64(m.Ops), m.Seconds) }

// sysCPUPerOp is the whole machine's CPU time for one operation in microseconds, 0 where it is not known.
func (m *measurement) sysCPUPerOp() float64 { return perOp(max(m.sysCPUSeconds, 0), m.Ops) }

// timePerOp is the time of one operation of one thread, in microseconds.
func (m *measurement) timePerOp() float64 { return perOp(m.Seconds, m.Ops) }

// walSync is the mean time of the calls that synced the log, in microseconds; 0 if there were none.
func (m *measurement) walSync() float64 { return perOp(m.WALSyncSecs, m.WALSyncs) }

func perSecond(n, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return n / seconds
}

// outcome is what became of one engine in one row.
type outcome struct {
	runs  []measurement
	lost  string // why there are no figures, "" if there are
	apart bool   // the engine does not take part in the row
}

// row runs one benchmark on every engine, --runs times, engine by engine, so that a change of the machine's speed meets
// all of them. Every second run goes through the engines in the opposite order. An engine that is killed misses the rest
// of the row, and the others go on.
func (se *session) row(ctx context.Context, p rowPlan) error {
	all := make([]outcome, len(se.contenders))
	for i, c := range se.contenders {
		all[i].lost, all[i].apart = c.unfit(p), !c.takesPart(p)
	}
	for run := range se.Runs {
		for _, i := range order(len(se.contenders), run) {
			if all[i].lost != "" || all[i].apart {
				continue
			}
			if err := se.measureInto(ctx, &all[i], se.contenders[i], p, run); err != nil {
				return err
			}
		}
	}
	se.measured = true
	se.progress.clear()
	for _, r := range se.rowsOf(p, all) {
		se.out.row(r)
	}
	return nil
}

// order is 0, 1, 2 … in even runs and the reverse in odd ones.
func order(n, run int) []int {
	o := make([]int, n)
	for i := range o {
		o[i] = i
	}
	if run%2 == 1 {
		slices.Reverse(o)
	}
	return o
}

// measure prepares one engine and runs the row on it, in as many parts as the row has. All others are at rest: each has
// drained before it answered.
func (se *session) measure(ctx context.Context, c *contender, p rowPlan, run int) (measurement, error) {
	b := se.bounds(c, p.benchmark)
	var parts []measurement
	for part := range b.parts {
		m, err := se.measurePart(ctx, c, p, b, run*b.parts+part, se.progressTitle(p, run, part, b.parts))
		if err != nil {
			return measurement{}, err
		}
		parts = append(parts, m)
	}
	return mergeParts(parts)
}

func (se *session) measurePart(ctx context.Context, c *contender, p rowPlan, b rowBounds, run int, title string) (measurement, error) {
	if err := se.prepare(ctx, c, p.benchmark, run, title); err != nil {
		return measurement{}, err
	}
	req := request{Op: opRun, Benchmark: p.name, Run: run, Threads: p.threads, MaxOps: b.ops, MaxSeconds: b.limit.Seconds(), MaxRotations: b.rotations}
	if c.Engine == engineDevice {
		req.Threads = 1
	}
	tell := se.progress.teller(title, c.label(se.contenders), b.ops, b.limit)

	cpu, cpuErr := procstat.MachineCPU()
	disk, diskOK := c.diskCounters()
	res, err := c.request(ctx, req, tell)
	if err != nil {
		return measurement{}, err
	}
	m := measurement{result: res, sysCPUSeconds: -1, diskRead: -1, diskWritten: -1, pageCache: se.pageCacheOf(c, &res)}
	if after, err := procstat.MachineCPU(); err == nil && cpuErr == nil {
		m.sysCPUSeconds = (after - cpu).Seconds()
	}
	if after, ok := c.diskCounters(); ok && diskOK {
		d := after.Sub(disk)
		m.diskRead, m.diskWritten = d.ReadBytes, d.WriteBytes
	}
	return m, nil
}

// progressTitle names a run of a row in the progress line.
func (se *session) progressTitle(p rowPlan, run, part, parts int) string {
	title := p.title()
	if se.Runs > 1 {
		title += fmt.Sprintf(" %d/%d", run+1, se.Runs)
	}
	if parts > 1 {
		title += fmt.Sprintf(" part %d/%d", part+1, parts)
	}
	return title
}

// prepare brings an engine's store into the state the row needs and drops what the kernel has cached of it.
func (se *session) prepare(ctx context.Context, c *contender, b *benchmark, run int, title string) error {
	first := !c.opened
	req := request{
		Op:        opPrepare,
		Benchmark: b.name,
		Run:       run,
		Create:    !se.UseExistingDB,
		Exclusive: first && !se.UseExistingDB && !se.Destroy,
		Wipe:      c.Engine != engineDevice && (b.fresh && !first || first && se.Destroy),
		Reopen:    se.cold && !first && c.cfg.Place.Kind != placeRAM,
	}
	_, err := c.request(ctx, req, se.progress.teller(title, c.label(se.contenders), 0, 0))
	if err != nil {
		return err
	}
	if first && se.Destroy && !c.reference() {
		se.made.addPlace(c.cfg.Place) // the old store is gone; the new one is this run's
	}
	c.opened = true
	if !se.described { // not before the first store is open: a refusal should stand alone
		se.described = true
		se.progress.clear()
		se.out.header(se.describe(), se.notes)
	}
	if se.cold {
		return se.tryDropCaches()
	}
	return nil
}

// pageCacheOf is how many bytes the kernel could use to cache the engine's files: what the cgroup's limit leaves, or
// what the machine has.
func (se *session) pageCacheOf(c *contender, res *result) int64 {
	available, err := procstat.MemoryAvailable()
	if err != nil {
		return -1
	}
	if se.limited && res.ResidentBytes > 0 {
		return min(available, max(0, int64(se.Memory)-res.ResidentBytes))
	}
	return available
}
