package kv

import (
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// How the engine is tuned. Sizes that follow the memtable keep small devices usable.
const (
	memTablesInMemory  = 4         // writers stop when this many memtables wait to be flushed
	maxCompactions     = 3         // at once, where the processors allow it
	blockSize          = 8 << 10   // bytes: two device blocks before compression, about one after it
	indexBlockSize     = 256 << 10 // bytes: one index block for every table the engine makes
	bloomBitsPerKey    = 10        // 1 % false positives
	maxOpenFiles       = 4096      // handles of BlobFS are memory, not descriptors
	l0CompactionFiles  = 4         // overlapping files in L0 that start a compaction
	l0StopWritesFiles  = 24        // and that stop writers
	l0MaxFiles         = 500       // files in L0, overlapping or not, that start a compaction: fewer on small devices
	l0PerDevice        = 16        // L0 at rest is at most this part of the device
	baseLevelMemTables = 4         // size of the first sorted level, in memtables
)

// PebbleOptions is how this package opens its engine, but for what binds it to a device (FS) and to a DB (events): a
// benchmark can run the same engine elsewhere.
func PebbleOptions(o *Options) *pebble.Options {
	c := o.withDefaults()
	return pebbleOptions(&c, c.memTableSize(0))
}

func pebbleOptions(o *Options, memTable int64) *pebble.Options {
	p := &pebble.Options{
		CacheSize:                   max(1, o.CacheSize), // to the engine zero is 8 MiB
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                uint64(memTable),
		MemTableStopWritesThreshold: memTablesInMemory,
		L0CompactionThreshold:       l0CompactionFiles,
		L0StopWritesThreshold:       l0StopWritesFiles,
		LBaseMaxBytes:               baseLevelMemTables * memTable,
		MaxManifestFileSize:         maxManifestSize(memTable),
		MaxOpenFiles:                maxOpenFiles,
		ReadOnly:                    o.ReadOnly,
		Logger:                      engineLogger{o.Logger},
		CompactionConcurrencyRange:  compactionConcurrency,
	}
	for i := range p.TargetFileSizes {
		p.TargetFileSizes[i] = targetFileSize(memTable, i)
	}
	for i := range p.Levels {
		l := &p.Levels[i]
		l.BlockSize = blockSize
		l.IndexBlockSize = indexBlockSize
		l.FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
		l.Compression = o.Compression.profile
	}
	return p
}

// compactionConcurrency is how many compactions run at once.
func compactionConcurrency() (lower, upper int) {
	return 1, max(1, min(maxCompactions, runtime.GOMAXPROCS(0)))
}

// maxL0Files is how many files may rest in L0. A load in key order makes files that do not overlap, which by themselves
// start no compaction; on a small device they would take the room that the guard keeps for compacting L0.
func maxL0Files(device, memTable int64) int {
	file := min(targetFileSize(memTable, 0), memTable)
	return int(max(l0CompactionFiles, min(l0MaxFiles, device/l0PerDevice/file)))
}

// stopWritesFiles is how many overlapping files in L0 stop writers: fewer on small devices, where one compaction of a
// larger L0 would need more than the reserve has for it.
func stopWritesFiles(device, memTable int64) int {
	return int(max(4*l0CompactionFiles, min(l0StopWritesFiles, device/l0PerDevice/memTable)))
}

// minFileSize keeps the tables of small stores from being many and mostly cluster slack: the engine also cuts a table
// where it overlaps more than ten of the level below.
const minFileSize = 1 << 20

// targetFileSize is that of L0 (i = 0), of the base level (1) and of those below it, in bytes: 4 4 8 16 16 16 16 MiB for
// the default memtable. Small files at the top keep compactions short, large ones at the bottom keep files few.
func targetFileSize(memTable int64, i int) int64 {
	first := max(memTable/4, min(memTable, minFileSize))
	return min(first<<max(i-1, 0), maxTableSize(memTable))
}

// maxTableSize is the largest target size, in bytes. A compaction rewrites a table with a dozen of the level below, and
// the reserve has room for that.
func maxTableSize(memTable int64) int64 { return memTable }

// maxManifestSize bounds the engine's log of table changes, in bytes.
func maxManifestSize(memTable int64) int64 { return max(memTable/4, 256<<10) }

func (c Compression) profile() *sstable.CompressionProfile {
	switch c {
	case NoCompression:
		return sstable.NoCompression
	case Zstd:
		return sstable.ZstdCompression
	default:
		return sstable.SnappyCompression
	}
}
