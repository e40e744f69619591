package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blobkv/blobkv/internal/size"
	"github.com/blobkv/blobkv/kv"
)

// settings is the command line.
type settings struct {
	Benchmarks string
	Num        int64
	NumGiven   bool  // --num was on the command line: the user decides how long rows take
	Threads    []int // goroutines; rows that keep the data run once for each
	Duration   time.Duration
	Runs       int
	Seed       uint64
	SeekNexts  int
	WriteRate  size.Value // bytes per second of readwhilewriting's writer; 0: no limit

	KeySize          int
	ValueSize        int
	CompressionRatio float64
	Sync             bool

	Device        string
	UseExistingDB bool
	Destroy       bool

	CacheSize       size.Value
	WriteBufferSize size.Value
	Compression     string

	VS         string
	Loop       size.Value // of the loop devices to compare on, bytes; 0: none
	Memory     size.Value
	DropCaches bool

	DataOverMemory float64 // live data in parts of Memory; 0: --num says how much data there is
	LogRotations   int     // of the rows that begin with fillsync; 0: by --num and time
	Bound          bool    // fillsync also runs on what it could be at best
	Keep           bool    // the stores are left when the run is over

	Format string
}

// defaultBenchmarks answer the first questions about a store: how fast it loads, syncs, overwrites, and reads.
const defaultBenchmarks = "fillseq,fillsync,fillrandom,overwrite,readrandom,readseq"

func defaultSettings() settings {
	return settings{
		Benchmarks:       defaultBenchmarks,
		Num:              500_000,
		Threads:          []int{1},
		Runs:             1,
		Seed:             1,
		KeySize:          16,
		ValueSize:        100,
		CompressionRatio: 0.5,
		CacheSize:        kv.DefaultCacheSize + kv.DefaultCompressedCacheSize,
		WriteBufferSize:  kv.DefaultMemTableSize,
		Compression:      kv.Snappy.String(),
		DropCaches:       true,
		Keep:             true,
		Format:           formatTable,
	}
}

// The output formats.
const (
	formatTable = "table"
	formatJSON  = "json"
)

// Bounds of what makes sense, so that a typo is an error and not an endless run.
const (
	maxThreads    = 1024
	maxRotations  = 1000
	maxBoundEntry = 1 << 20 // bytes
	maxValueSize  = 64 << 20
	minBuffer     = 256 << 10
	minCacheSize  = 8 << 20 // below this no block cache is worth its name
)

// validate checks what flag parsing cannot.
func (s *settings) validate() error {
	switch {
	case s.Num < 1:
		return usagef("--num %d: at least one key is needed", s.Num)
	case len(s.Threads) == 0 || slices.Min(s.Threads) < 1 || slices.Max(s.Threads) > maxThreads:
		return usagef("--threads %s: expected numbers from 1 to %d", threadsText(s.Threads), maxThreads)
	case s.Runs < 1:
		return usagef("--runs %d: expected at least 1", s.Runs)
	case s.Duration < 0:
		return usagef("--duration %v is negative", s.Duration)
	case s.WriteRate < 0 || s.WriteRate > 0 && int64(s.WriteRate) < max(pacedBurst, int64(s.KeySize+s.ValueSize)):
		return usagef("--benchmark_write_rate_limit %v: expected 0, or 64KiB and an entry a second at least", &s.WriteRate)
	case s.LogRotations < 0 || s.LogRotations > maxRotations:
		return usagef("--log_rotations %d: expected 0 to %d", s.LogRotations, maxRotations)
	case s.Bound && s.KeySize+s.ValueSize > maxBoundEntry:
		return usagef("--bound: an entry of %d bytes is more than the %d that are written at once", s.KeySize+s.ValueSize, maxBoundEntry)
	case s.SeekNexts < 0:
		return usagef("--seek_nexts %d is negative", s.SeekNexts)
	case s.Format != formatTable && s.Format != formatJSON:
		return usagef("--format %q: expected %s or %s", s.Format, formatTable, formatJSON)
	case s.UseExistingDB && s.Destroy:
		return usagef("--use_existing_db and --destroy contradict each other")
	}
	if err := errors.Join(s.validateData(), s.validateLoop()); err != nil {
		return err
	}
	return s.validateMemory()
}

func (s *settings) validateData() error {
	switch {
	case s.KeySize < digits(s.Num-1):
		return usagef("--key_size %d cannot tell %d keys apart: at least %d bytes are needed", s.KeySize, s.Num, digits(s.Num-1))
	case s.KeySize > 1<<16:
		return usagef("--key_size %d: expected at most %d", s.KeySize, 1<<16)
	case s.ValueSize < 0 || s.ValueSize > maxValueSize:
		return usagef("--value_size %d: expected 0 to %d", s.ValueSize, maxValueSize)
	case !(s.CompressionRatio > 0 && s.CompressionRatio <= 1):
		return usagef("--compression_ratio %v: expected more than 0 and at most 1", s.CompressionRatio)
	}
	if _, err := kv.ParseCompression(s.Compression); err != nil {
		return usagef("--compression_type: %v", err)
	}
	return nil
}

func (s *settings) validateMemory() error {
	switch {
	case s.CacheSize < 0:
		return usagef("--cache_size is negative")
	case s.WriteBufferSize < minBuffer || s.WriteBufferSize > 1<<30:
		return usagef("--write_buffer_size %v: expected 256KiB to 1GiB", &s.WriteBufferSize)
	}
	return nil
}

// parseVS splits --vs into the engine and its folder, which may be left out.
func parseVS(vs string) (engine, dir string, err error) {
	engine, dir, hasDir := strings.Cut(vs, ":")
	if engine != engineHostFS || (hasDir && dir == "") {
		return "", "", usagef("--vs %q: expected %s or %s:DIR", vs, engineHostFS, engineHostFS)
	}
	return engine, dir, nil
}

// threadsText is a list of numbers of goroutines as --threads takes it.
func threadsText(threads []int) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(threads), "[]"), " ", ",")
}
