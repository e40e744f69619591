package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/blobkv/blobkv/internal/size"
)

// What an entry takes up in the tables of both engines besides its value as it should compress: the key, of which a block
// repeats little, with its share of index and filter; and what a compressor adds for each fragment of a value.
const (
	entryOverhead    = 20 // bytes
	fragmentOverhead = 5  // bytes for each valueFragmentSize
)

// entrySize is what an entry takes up in a table, in bytes, about.
func entrySize(s *settings) float64 {
	size := float64(s.ValueSize)*s.CompressionRatio + entryOverhead
	if s.CompressionRatio < 1 {
		size += float64(s.ValueSize) / valueFragmentSize * fragmentOverhead
	}
	return size
}

// randomShare of --num keys are there after --num random ones were written: 1 - 1/e.
const randomShare = 1 - 1/math.E

// keysOver is how many keys make the live data so many times the memory, once --benchmarks have loaded them. Garbage that
// is not compacted yet comes on top: what there was is printed with each row.
func keysOver(s *settings, rows []*benchmark) int64 {
	share := randomShare
	if slices.ContainsFunc(rows, func(b *benchmark) bool { return b.name == "fillseq" }) {
		share = 1
	}
	return int64(math.Ceil(s.DataOverMemory * float64(s.Memory) / entrySize(s) / share))
}

// sizeData replaces --num where --data_over_memory says how much data there is to be.
func (s *settings) sizeData(rows []*benchmark) error {
	switch {
	case s.DataOverMemory == 0:
		return nil
	case !(s.DataOverMemory > 0 && s.DataOverMemory <= maxDataOverMemory):
		return usagef("--data_over_memory %v: expected more than 0 and at most %d", s.DataOverMemory, maxDataOverMemory)
	case s.Memory == 0:
		return usagef("--data_over_memory needs --memory: over which?")
	case s.NumGiven:
		return usagef("--data_over_memory and --num contradict each other")
	}
	s.Num = keysOver(s, rows)
	return nil
}

const maxDataOverMemory = 1000

// overMemory says how the data of a row compares with --memory, "" without one.
func overMemory(r *row) string {
	if r.figures == nil || r.DataMB == 0 || r.MemoryBytes == 0 {
		return ""
	}
	return fmt.Sprintf("data %s, %.1fx memory", size.Human(int64(r.DataMB*mb)), r.DataMB*mb/float64(r.MemoryBytes))
}
