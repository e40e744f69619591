package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// row is one line of the report: the median run of one benchmark on one engine, or the ratio of two engines. Its JSON
// form is stable: fields are added, never renamed.
type row struct {
	Benchmark string `json:"benchmark"`
	Engine    string `json:"engine"`
	Device    string `json:"device"`
	Threads   int    `json:"threads"`

	*figures
	*ratio
	Bound *bound `json:"bound,omitempty"`

	FileSystem  string  `json:"filesystem,omitempty"` // under the store, with its journal and mount options
	Policy      string  `json:"policy,omitempty"`
	Durability  string  `json:"durability"` // sync, nosync or read
	Logs        string  `json:"logs,omitempty"`
	Caches      string  `json:"caches"`                           // cold or warm: of the host and of the engine, when the row began
	CacheBytes  int64   `json:"cache_bytes"`                      // the block cache
	Compressed  int64   `json:"compressed_cache_bytes,omitempty"` // our cache of compressed blocks
	MemoryBytes int64   `json:"memory_bytes,omitempty"`           // --memory
	MemoryLimit bool    `json:"memory_limited,omitempty"`         // a cgroup holds the engine and its page cache to memory_bytes
	PageCache   int64   `json:"page_cache_bytes,omitempty"`       // what --memory leaves to the page cache, at most
	Compression string  `json:"compression,omitempty"`            // of the engine's tables
	ValueSize   int     `json:"value_size,omitempty"`             // bytes
	Seed        uint64  `json:"seed"`                             //
	Runs        int     `json:"runs"`                             // the figures are of the median one
	MinOps      float64 `json:"ops_per_sec_min,omitempty"`
	MaxOps      float64 `json:"ops_per_sec_max,omitempty"`
	Note        string  `json:"note,omitempty"`
	Lost        string  `json:"lost,omitempty"` // why there are no figures: the engine was killed

	label string // the engine, with its split where there are several
}

// figures are what was measured.
type figures struct {
	Ops         int64    `json:"ops"`
	Seconds     float64  `json:"seconds"`
	OpsPerSec   float64  `json:"ops_per_sec"`
	MBPerSec    float64  `json:"mb_per_sec"`
	P50         float64  `json:"p50_us"`
	P99         float64  `json:"p99_us"`
	P999        float64  `json:"p999_us"`
	Max         float64  `json:"max_us"`
	CPUPerOp    float64  `json:"cpu_us_per_op"`
	SysCPU      *float64 `json:"sys_cpu_us_per_op"`        // null where the platform does not tell
	Found       *int64   `json:"found,omitempty"`          // of the reads
	ExtraOps    float64  `json:"writes_per_sec,omitempty"` // of the writer beside the measured goroutines
	DrainSecs   float64  `json:"drain_seconds"`
	WALSync     float64  `json:"wal_sync_us,omitempty"` // mean time of the engine's calls that sync its log
	Rotations   int64    `json:"log_rotations"`
	Recycled    int64    `json:"logs_recycled"`            // of the logs made during the row
	EngineMB    float64  `json:"engine_write_mb"`          // logs, flushes and compactions of the LSM engine
	StackMB     *float64 `json:"stack_write_mb,omitempty"` // what our stack made of them at its device
	DiskWriteMB *float64 `json:"disk_write_mb"`            // what the host's disk wrote meanwhile, for whomever
	DiskReadMB  *float64 `json:"disk_read_mb"`
	StackReadMB *float64 `json:"stack_read_mb,omitempty"` // what our stack read from its device
	BlockHits   int64    `json:"compressed_cache_hits,omitempty"`
	BlockMisses int64    `json:"compressed_cache_misses,omitempty"`
	DataMB      float64  `json:"data_mb"`
	ResidentMB  float64  `json:"resident_mb"`
}

const mb = 1e6

// rowsOf turns the measurements of one benchmark, the outcomes of all contenders, into report rows.
func (se *session) rowsOf(p rowPlan, all []outcome) []row {
	var rows []row
	for i, c := range se.contenders {
		if all[i].apart {
			continue
		}
		rows = append(rows, se.engineRow(p, c, &all[i]))
	}
	if se.VS != "" {
		rows = append(rows, se.ratioRow(p, all))
	}
	if se.Bound && p.log != logAny {
		rows = append(rows, se.boundRow(p, all))
	}
	return rows
}

func (se *session) newRow(p rowPlan, c *contender) row {
	r := row{
		Benchmark:   p.name,
		Engine:      c.Engine,
		Device:      c.cfg.Place.String(),
		Threads:     p.threads,
		FileSystem:  c.fsName,
		Policy:      c.cfg.Place.Policy,
		Durability:  p.durability(se.Sync),
		Logs:        string(p.log),
		Caches:      "warm",
		CacheBytes:  c.CacheSize,
		Compressed:  c.split.Compressed,
		MemoryBytes: int64(se.Memory),
		MemoryLimit: se.limited,
		PageCache:   c.PageCache,
		Compression: se.Compression,
		ValueSize:   se.ValueSize,
		Seed:        se.Seed,
		Runs:        se.Runs,
		label:       c.label(se.contenders),
	}
	if se.cold {
		r.Caches = "cold"
	}
	return r
}

func (se *session) engineRow(p rowPlan, c *contender, o *outcome) row {
	r := se.newRow(p, c)
	if o.lost != "" {
		r.Lost = o.lost
		return r
	}
	m := median(o.runs)
	r.figures = newFigures(&m)
	if !p.writes {
		r.Found = &m.Found
	}
	if len(o.runs) > 1 {
		r.MinOps, r.MaxOps = spread(o.runs)
	}
	r.Note = se.noteOf(p.benchmark, &m)
	return r
}

// median is the run in the middle by throughput, the slower of two.
func median(runs []measurement) measurement {
	sorted := slices.Clone(runs)
	slices.SortFunc(sorted, func(a, b measurement) int { return cmp.Compare(a.opsPerSec(), b.opsPerSec()) })
	return sorted[(len(sorted)-1)/2]
}

func spread(runs []measurement) (low, high float64) {
	low = math.Inf(1)
	for i := range runs {
		low, high = min(low, runs[i].opsPerSec()), max(high, runs[i].opsPerSec())
	}
	return low, high
}

func newFigures(m *measurement) *figures {
	f := &figures{
		Ops:        m.Ops,
		Seconds:    m.Seconds,
		OpsPerSec:  m.opsPerSec(),
		MBPerSec:   perSecond(float64(m.Bytes)/mb, m.Seconds),
		P50:        m.P50,
		P99:        m.P99,
		P999:       m.P999,
		Max:        m.MaxUs,
		CPUPerOp:   perOp(m.CPUSeconds, m.Ops),
		ExtraOps:   perSecond(float64(m.ExtraOps), m.Seconds),
		DrainSecs:  m.DrainSeconds,
		WALSync:    m.walSync(),
		Rotations:  m.Rotations,
		Recycled:   m.Recycled,
		EngineMB:   float64(m.EngineWritten) / mb,
		DataMB:     float64(m.DataBytes) / mb,
		ResidentMB: float64(m.ResidentBytes) / mb,
	}
	if m.sysCPUSeconds >= 0 {
		v := perOp(m.sysCPUSeconds, m.Ops)
		f.SysCPU = &v
	}
	f.BlockHits, f.BlockMisses = m.BlockHits, m.BlockMisses
	f.StackReadMB = megabytes(m.StackRead, m.StackRead > 0)
	f.StackMB = megabytes(m.StackWritten, m.StackWritten > 0)
	f.DiskWriteMB = megabytes(m.diskWritten, m.diskWritten >= 0)
	f.DiskReadMB = megabytes(m.diskRead, m.diskRead >= 0)
	return f
}

// perOp is CPU time in microseconds for each operation.
func perOp(seconds float64, ops int64) float64 {
	if ops == 0 {
		return 0
	}
	return seconds * 1e6 / float64(ops)
}

func megabytes(bytes int64, known bool) *float64 {
	if !known {
		return nil
	}
	v := float64(bytes) / mb
	return &v
}

// noteOf says what a reader of one line must know to read it right.
func (se *session) noteOf(b *benchmark, m *measurement) string {
	switch {
	case b.extra != nil:
		return fmt.Sprintf("writer %.0f ops/s", perSecond(float64(m.ExtraOps), m.Seconds))
	case !b.writes && !b.files && m.Found < m.Ops && m.Ops > 0 && b.name != "readmissing":
		return fmt.Sprintf("%.0f%% found", 100*float64(m.Found)/float64(m.Ops))
	case b.log != logAny && se.LogRotations > 0 && m.Rotations > 0:
		return fmt.Sprintf("%d log rotations", m.Rotations)
	case b.log == logFresh && m.Rotations > 0:
		return "ended with its log"
	}
	return ""
}
