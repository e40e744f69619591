package vfsadapter

import (
	"fmt"
	"math/bits"

	"github.com/blobkv/blobkv/internal/dmabuf"
)

// BlockCache keeps blocks of tables as they lie in the file, compressed, so that the same memory answers more reads than
// Pebble's own cache of uncompressed ones does. It belongs to one FS. Any goroutine may call any method; of a nil one,
// which has nothing, Stats and Close.
//
// It is divided into shards, by hash of the key, each with a lock, a ring of bytes (cache_ring.go) and an index into it
// (cache_index.go). All memory is one region outside the Go heap that the system backs where it was written to: the
// indexes, then the rings, which are filled from their starts. So a cache takes what it holds, give or take a huge page
// for each shard.
type BlockCache struct {
	shards   []cacheShard // a power of two
	region   *dmabuf.Region
	capacity int64
}

// blockKey names a block. Content that has another version has no blocks in common, see blobfs.File.Version.
type blockKey struct {
	version uint64 // not 0
	off     int64
}

const (
	minCacheBytes = 16 << 10 // with less there is no cache
	minShardBytes = 4 << 20  // a cache of twice as much is divided
	maxShards     = 16       // enough for readers that hold a lock for the copy of a block
	maxBlockBytes = 1 << 20  // an index or filter of a large table is less
	maxBlockPart  = 8        // and none takes more than this part of a shard
	hugePage      = 2 << 20  // memory comes in these where there is enough
	bytesPerSlot  = 1 << 10  // of the index: blocks of 8 KiB compress to about four times as much
)

// NewBlockCache makes a cache that takes at most the given bytes of memory, all in all; nil if that is too little for
// one (16 KiB) or not positive. Close gives the memory back.
func NewBlockCache(bytes int64) (*BlockCache, error) {
	if bytes < minCacheBytes {
		return nil, nil
	}
	if bytes >= hugePage {
		bytes -= bytes % hugePage
	}
	region, err := dmabuf.NewRegion(bytes)
	if err != nil {
		return nil, fmt.Errorf("cache of compressed blocks: %w", err)
	}
	n := int64(1)
	for n < maxShards && bytes/(2*n) >= minShardBytes {
		n *= 2
	}
	c := &BlockCache{shards: make([]cacheShard, n), region: region, capacity: bytes}
	slots := bytes / n / bytesPerSlot * slotBytes
	ring := (bytes/n - slots) &^ (entryAlign - 1)
	indexes, rings := region.Bytes()[:n*slots], region.Bytes()[n*slots:]
	for i := range n {
		c.shards[i].index = newCacheIndex(indexes[i*slots:][:slots:slots])
		c.shards[i].ring = rings[i*ring:][:ring:ring]
	}
	return c, nil
}

// get copies a block of len(p) bytes to p and reports whether it had it.
func (c *BlockCache) get(k blockKey, p []byte) bool {
	h := k.hash()
	return c.shard(h).get(k, uint32(h), p)
}

// put keeps a copy of a block. Each look at it makes it stay for another round of the ring, up to three.
func (c *BlockCache) put(k blockKey, p []byte) {
	h := k.hash()
	c.shard(h).put(k, uint32(h), p)
}

// shard goes by the upper bits of a hash, the index of a shard by the lower ones.
func (c *BlockCache) shard(h uint64) *cacheShard {
	return &c.shards[h>>32&uint64(len(c.shards)-1)]
}

// hash spreads keys whose versions are small numbers and whose offsets grow by about a block.
func (k blockKey) hash() uint64 {
	hi, lo := bits.Mul64(k.version^0x9e3779b97f4a7c15, uint64(k.off)^0xd6e8feb86659fd93)
	hi, lo = bits.Mul64(hi^lo^k.version, 0xff51afd7ed558ccd)
	return hi ^ lo
}

// CacheStats describe the cache of compressed blocks.
type CacheStats struct {
	Hits, Misses int64 // reads of blocks that were answered from it, and that were not
	Bytes        int64 // of the blocks in it
	Blocks       int64
	Capacity     int64 // bytes of memory, at most; what has never been used is not taken from the system
}

// Stats returns the present figures; Hits and Misses count since the cache was made.
func (c *BlockCache) Stats() CacheStats {
	if c == nil {
		return CacheStats{}
	}
	s := CacheStats{Capacity: c.capacity}
	for i := range c.shards {
		c.shards[i].addTo(&s)
	}
	return s
}

// Close gives the memory back. Reads that come later find nothing and go to the file. It is called once.
func (c *BlockCache) Close() error {
	if c == nil {
		return nil
	}
	for i := range c.shards {
		c.shards[i].close()
	}
	return c.region.Free()
}
