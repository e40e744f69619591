package main

import (
	"github.com/blobkv/blobkv/internal/size"
)

// What each engine uses besides its block cache, in bytes. The figures are bounds, not guesses of the average: an engine
// that goes over its limit is killed.
const (
	processMemory   = 48 << 20 // Go runtime, table metadata, histograms, iterators
	stackMemory     = 48 << 20 // our stack's write-behind, read-ahead and bounce buffers, and what describes files
	memTablesAtOnce = 4        // of --write_buffer_size each: kv's options stop writers at this many
	minPageCache    = 16 << 20 // left to the kernel when the host engine's block cache is large
	smallShare      = 8        // the small block cache of the host is this part of what is left
	pageCacheShare  = 4        // and its small page cache this: with less a limit of 224 MiB killed it in readseq
)

// A block cache of n bytes takes up more: the allocator's own, and holes between blocks of many sizes. A quarter was seen
// on a cache that had been full for a while, and was too little in some runs.
func cacheFootprint(cache int64) int64 { return cache + cache*2/5 }

// cacheWithin is the largest block cache that fits into n bytes.
func cacheWithin(n int64) int64 { return n / 7 * 5 }

// compressedShare of 4 parts of --cache_size are our cache of compressed blocks, as kv's defaults have it.
const compressedShare = 3

// divideCache divides --cache_size between our two caches: together they are as large as the host engine's one.
func divideCache(cache int64) (block, compressed int64) {
	compressed = cache / 4 * compressedShare
	return cache - compressed, compressed
}

// divideLeft divides the memory that is left for caches between our two, as the host's small split does between its block
// cache and the page cache: the cache of compressed blocks is our page cache. It takes up what it is given, and no more.
func divideLeft(left int64) (block, compressed int64) {
	block = max(cacheWithin(left/smallShare), minCacheSize)
	return block, left - cacheFootprint(block)
}

// split is how one engine divides its memory.
type split struct {
	Engine     string
	Name       string // tells the splits of one engine apart; "" if there is one
	CacheSize  int64  // block cache
	Compressed int64  // cache of compressed blocks; 0 for the host's
	PageCache  int64  // what is left to the kernel's page cache under --memory; 0: unlimited or none
}

// splitsFor plans the engines' memory. Without a total our two caches are together as large as the host engine's block
// cache, which has the page cache besides. With one, ours take what is left by everything else; the host engine runs once
// with a small block cache, so that the page cache gets the rest, and once with a large one.
func splitsFor(s *settings) ([]split, error) {
	cache, total := int64(s.CacheSize), int64(s.Memory)
	if total == 0 {
		block, compressed := divideCache(cache)
		splits := []split{{Engine: engineBlobKV, CacheSize: block, Compressed: compressed}}
		if s.VS != "" {
			splits = append(splits, split{Engine: engineHostFS, CacheSize: cache})
		}
		return splits, nil
	}
	fixed := processMemory + memTablesAtOnce*int64(s.WriteBufferSize)
	block, compressed := divideLeft(total - fixed - stackMemory)
	if compressed < 0 {
		least := size.Value(fixed + stackMemory + cacheFootprint(minCacheSize))
		return nil, usagef("--memory %v is too little: memtables, buffers and a block cache need %v (a smaller --write_buffer_size helps)", &s.Memory, &least)
	}
	splits := []split{{Engine: engineBlobKV, CacheSize: block, Compressed: compressed}}
	if s.VS == "" {
		return splits, nil
	}
	left := total - fixed
	small := max(cacheWithin(left/smallShare), minCacheSize)
	large := cacheWithin(left - max(left/pageCacheShare, minPageCache))
	return append(splits,
		split{Engine: engineHostFS, Name: "small", CacheSize: small, PageCache: left - cacheFootprint(small)},
		split{Engine: engineHostFS, Name: "large", CacheSize: large, PageCache: left - cacheFootprint(large)}), nil
}

// goMemoryLimit is what the Go runtime of an engine may use before it collects harder. The block cache and the memtables
// lie in the C heap where there is cgo, out of the runtime's sight.
func goMemoryLimit(s *settings, sp split) int64 {
	if s.Memory == 0 {
		return 0
	}
	limit := processMemory
	if sp.Engine == engineBlobKV {
		limit += 4 << 20 // what describes files; device buffers are outside the Go heap
	}
	if cgoEnabled {
		return int64(limit)
	}
	return int64(limit) + cacheFootprint(sp.CacheSize) + memTablesAtOnce*int64(s.WriteBufferSize)
}
