package main

import (
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const nsPerUs = 1e3

// quantiles reads the latencies that a report shows.
func (r *result) quantiles(hist *hdrhistogram.Histogram) {
	r.P50 = float64(hist.ValueAtQuantile(50)) / nsPerUs
	r.P99 = float64(hist.ValueAtQuantile(99)) / nsPerUs
	r.P999 = float64(hist.ValueAtQuantile(99.9)) / nsPerUs
}

// mergeParts makes one measurement of a row that was measured in parts, each on a store of its own: what was counted is
// added up, and what was there at the end is the last part's.
func mergeParts(parts []measurement) (measurement, error) {
	m := parts[0]
	if len(parts) == 1 {
		return m, nil
	}
	hist := newHistogram()
	for i := range parts {
		p := &parts[i]
		h, err := hdrhistogram.Decode([]byte(p.Hist))
		if err != nil {
			return measurement{}, fmt.Errorf("latencies of part %d: %w", i+1, err)
		}
		hist.Merge(h)
		if i > 0 {
			m.add(p)
		}
	}
	m.quantiles(hist)
	return m, nil
}

func (m *measurement) add(p *measurement) {
	m.Ops += p.Ops
	m.Found += p.Found
	m.Bytes += p.Bytes
	m.Seconds += p.Seconds
	m.MaxUs = max(m.MaxUs, p.MaxUs)
	m.CPUSeconds += p.CPUSeconds
	m.DrainSeconds += p.DrainSeconds
	m.EngineWritten += p.EngineWritten
	m.StackWritten += p.StackWritten
	m.StackRead += p.StackRead
	m.Rotations += p.Rotations
	m.Recycled += p.Recycled
	m.ExtraOps += p.ExtraOps
	m.WALSyncs += p.WALSyncs
	m.WALSyncSecs += p.WALSyncSecs
	m.CacheHits += p.CacheHits
	m.CacheMisses += p.CacheMisses
	m.BlockHits += p.BlockHits
	m.BlockMisses += p.BlockMisses
	m.DataBytes, m.ResidentBytes, m.pageCache = p.DataBytes, p.ResidentBytes, p.pageCache
	m.sysCPUSeconds = addKnown(m.sysCPUSeconds, p.sysCPUSeconds)
	m.diskRead, m.diskWritten = addKnown(m.diskRead, p.diskRead), addKnown(m.diskWritten, p.diskWritten)
}

// addKnown adds counters that are -1 where they are not known.
func addKnown[N int64 | float64](a, b N) N {
	if a < 0 || b < 0 {
		return -1
	}
	return a + b
}
