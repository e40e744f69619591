package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/blobkv/blobkv/internal/size"
)

// ratio compares our engine with the host's. Each figure is the median over pairs of runs that were neighbours in time.
type ratio struct {
	Ratio     *float64 `json:"ratio"` // ours divided by the host's, of ops_per_sec; null if it would mean nothing
	VS        string   `json:"vs"`
	VSCache   int64    `json:"vs_cache_bytes"` // block cache of the split that counted, the host's better one
	MinRatio  float64  `json:"ratio_min,omitempty"`
	MaxRatio  float64  `json:"ratio_max,omitempty"`
	CPURatio  *float64 `json:"sys_cpu_ratio,omitempty"` // of sys_cpu_us_per_op: less is better
	P999Ratio *float64 `json:"p999_ratio,omitempty"`    // of p999_us: less is better
	P999Worst float64  `json:"p999_ratio_max,omitempty"`
}

// ratioRow compares our engine, which comes first, with the better of the host's splits.
func (se *session) ratioRow(p rowPlan, all []outcome) row {
	r := se.newRow(p, se.contenders[0])
	r.ratio = &ratio{VS: engineHostFS}
	best := se.bestHost(all)
	if best < 0 || all[0].lost != "" {
		r.Note = "no ratio: there are no figures of one of the two"
		return r
	}
	r.VSCache = se.contenders[best].CacheSize
	if why := se.meaningless(p.benchmark, all[best].runs); why != "" {
		r.Note = why
		return r
	}
	r.ratio.fill(all[0].runs, all[best].runs)
	return r
}

// bestHost is the index of the host's fastest split, -1 if none has figures.
func (se *session) bestHost(all []outcome) int {
	best, fastest := -1, 0.0
	for i, c := range se.contenders {
		if c.Engine != engineHostFS || all[i].lost != "" {
			continue
		}
		if m := median(all[i].runs); best < 0 || m.opsPerSec() > fastest {
			best, fastest = i, m.opsPerSec()
		}
	}
	return best
}

// fill divides ours by the host's.
func (r *ratio) fill(ours, hosts []measurement) {
	ops := ratiosOf(ours, hosts, (*measurement).opsPerSec)
	r.Ratio = &ops[(len(ops)-1)/2]
	if len(ops) > 1 {
		r.MinRatio, r.MaxRatio = ops[0], ops[len(ops)-1]
	}
	if p999 := ratiosOf(ours, hosts, func(m *measurement) float64 { return m.P999 }); p999[0] > 0 {
		r.P999Ratio, r.P999Worst = &p999[len(p999)/2], p999[len(p999)-1]
	}
	if cpu := ratiosOf(ours, hosts, (*measurement).sysCPUPerOp); cpu[0] > 0 {
		r.CPURatio = &cpu[len(cpu)/2]
	}
}

// ratiosOf divides run by run, for the two runs of a pair were neighbours in time, and sorts. Of pairs that cannot be
// divided there is one zero.
func ratiosOf(ours, hosts []measurement, of func(*measurement) float64) []float64 {
	var out []float64
	for i := range min(len(ours), len(hosts)) {
		if h := of(&hosts[i]); h > 0 {
			out = append(out, of(&ours[i])/h)
		}
	}
	if len(out) == 0 {
		return []float64{0}
	}
	slices.Sort(out)
	return out
}

// meaningless says why a ratio would mean nothing, "" if it means something. A synced write has to reach the disk; all
// else the page cache can do alone while it holds the data.
func (se *session) meaningless(b *benchmark, host []measurement) string {
	for _, c := range se.contenders {
		if c.reference() {
			continue
		}
		if c.mount.RAM || c.cfg.Place.Kind == placeRAM {
			return fmt.Sprintf("no ratio: %s lies in memory (%s), nothing here is about a disk", c.cfg.Place, c.fsName)
		}
	}
	if (b.writes || b.files) && b.durable(se.Sync) {
		return ""
	}
	for i := range host {
		if m := &host[i]; m.pageCache >= 0 && m.DataBytes <= m.pageCache {
			return fmt.Sprintf("no ratio: the page cache (%s) holds all the data (%s); more --num or less --memory",
				size.Human(m.pageCache), size.Human(m.DataBytes))
		}
	}
	return ""
}

// ratioText is the ratio with its spread, or why there is none.
func ratioText(r *row) string {
	if r.Ratio == nil {
		return r.Note
	}
	text := fmt.Sprintf("%10.2f", *r.Ratio)
	if r.Runs > 1 {
		text += fmt.Sprintf("  (%.2f to %.2f in %d runs)", r.MinRatio, r.MaxRatio, r.Runs)
	}
	parts := []string{text}
	if r.CPURatio != nil {
		parts = append(parts, fmt.Sprintf("cpu %.2f", *r.CPURatio))
	}
	if r.P999Ratio != nil {
		text := fmt.Sprintf("p99.9 %.2f", *r.P999Ratio)
		if r.Runs > 1 {
			text += fmt.Sprintf(" (to %.2f)", r.P999Worst)
		}
		parts = append(parts, text)
	}
	if r.MemoryBytes > 0 {
		parts = append(parts, fmt.Sprintf("to %s with %s of block cache", r.VS, size.Human(r.VSCache)))
	}
	return strings.Join(parts, "  ")
}
