package vfsadapter

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newCache is a cache that is closed with the test.
func newCache(t testing.TB, size int64) *BlockCache {
	t.Helper()
	c, err := NewBlockCache(size)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// blockOf is what stands at a place of some content: of a random length and not like any other.
func blockOf(k blockKey, length int) []byte {
	b := make([]byte, max(length, 16))
	binary.LittleEndian.PutUint64(b, k.version)
	binary.LittleEndian.PutUint64(b[8:], uint64(k.off))
	rng := rand.NewPCG(k.version, uint64(k.off))
	for i := 16; i+8 <= length; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b[:length]
}

func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

const modelSteps = 6000

// TestCacheAgainstModel puts and gets blocks at random in caches of many sizes. What is found is always what was put
// last, and the invariants of every shard hold.
func TestCacheAgainstModel(t *testing.T) {
	rng := seeded(t)
	for _, size := range []int64{minCacheBytes, 64 << 10, 100_000, 1 << 20, 5 << 20} {
		c := newCache(t, size)
		lengths := map[blockKey]int{}
		hits := 0
		for i := range modelSteps {
			k := blockKey{1 + rng.Uint64N(4), rng.Int64N(200) * 4096}
			length, known := lengths[k]
			if !known {
				length = 1 + rng.IntN(int(size/int64(len(c.shards))/maxBlockPart))
			}
			p := make([]byte, length)
			if c.get(k, p) {
				require.True(t, known, "never put")
				require.True(t, bytes.Equal(blockOf(k, length), p), "size %d, step %d", size, i)
				hits++
				continue
			}
			if known && rng.IntN(10) == 0 {
				length = 1 + length/2 // the same place, read in another length
			}
			c.put(k, blockOf(k, length))
			lengths[k] = length
			if i%1000 == 0 {
				checkCache(t, c)
			}
		}
		checkCache(t, c)
		require.Positive(t, hits)
		s := c.Stats()
		require.EqualValues(t, hits, s.Hits)
		require.EqualValues(t, modelSteps-hits, s.Misses)
	}
}

// checkCache walks the ring of each shard and compares it with its index.
func checkCache(t *testing.T, c *BlockCache) {
	t.Helper()
	total := CacheStats{}
	memory := int64(0)
	for i := range c.shards {
		s := &c.shards[i]
		memory += int64(len(s.ring) + len(s.index.slots))
		indexed, bytes := 0, int64(0)
		for pos := s.tail; pos < s.head; {
			at := int(pos % uint64(len(s.ring)))
			if rest := len(s.ring) - at; rest < entryHeader || s.key(at).version == 0 {
				pos += uint64(rest)
				continue
			}
			k := s.key(at)
			if slot, found := s.find(k, uint32(k.hash())); slot >= 0 && found == at {
				indexed++
				bytes += int64(s.length(at))
			}
			pos += entryBytes(s.length(at))
		}
		require.LessOrEqual(t, s.head-s.tail, uint64(len(s.ring)))
		require.Equal(t, s.index.used, indexed, "every slot leads to an entry")
		require.Equal(t, s.bytes, bytes)
		require.Less(t, s.index.used, s.index.n)
		total.Bytes += bytes
		total.Blocks += int64(indexed)
	}
	got := c.Stats()
	require.Equal(t, total.Bytes, got.Bytes)
	require.Equal(t, total.Blocks, got.Blocks)
	require.LessOrEqual(t, memory, got.Capacity, "the index is part of the bound")
}

// TestCacheKeepsWhatIsReadAgain reads everything there is once, ten times what fits, while a few blocks are read again and
// again: they stay.
func TestCacheKeepsWhatIsReadAgain(t *testing.T) {
	c := newCache(t, 1<<20)
	const length = 4000
	p := make([]byte, length)
	read := func(k blockKey) bool {
		if c.get(k, p) {
			return true
		}
		c.put(k, blockOf(k, length))
		return false
	}
	hot := func(i int64) blockKey { return blockKey{1, i * length} }
	for i := range int64(20) {
		read(hot(i))
		require.True(t, read(hot(i)))
	}
	misses := 0
	for i := range int64(10 * (1 << 20) / length) {
		read(blockKey{2, i * length})
		if !read(hot(i % 20)) {
			misses++
		}
	}
	require.Zero(t, misses)
}

// TestCacheUsesItsMemory fills a cache with blocks as tables have them.
func TestCacheUsesItsMemory(t *testing.T) {
	rng := seeded(t)
	c := newCache(t, 8<<20)
	for i := range int64(10_000) {
		k := blockKey{7, i * 8192}
		c.put(k, blockOf(k, 3500+rng.IntN(2000)))
	}
	s := c.Stats()
	require.Greater(t, float64(s.Bytes), 0.95*float64(s.Capacity))
	require.LessOrEqual(t, s.Bytes, s.Capacity)
}

// TestCacheOfSmallBlocks: the index is bounded too, so that tiny blocks push each other out before the ring is full.
func TestCacheOfSmallBlocks(t *testing.T) {
	c := newCache(t, 64<<10)
	for i := range int64(10_000) {
		k := blockKey{1, i}
		c.put(k, blockOf(k, 16))
		require.True(t, c.get(k, make([]byte, 16)), "the newest is there")
	}
	checkCache(t, c)
	require.Positive(t, c.Stats().Blocks)
	require.Less(t, c.Stats().Blocks, int64(64))
}

func TestCacheRefusesLargeBlocks(t *testing.T) {
	c := newCache(t, 64<<10)
	k := blockKey{1, 0}
	c.put(k, make([]byte, 8<<10))
	require.Zero(t, c.Stats().Blocks)
	c.put(k, nil)
	require.Zero(t, c.Stats().Blocks)

	c = newCache(t, 256<<20)
	c.put(k, make([]byte, maxBlockBytes+1))
	require.Zero(t, c.Stats().Blocks)
	c.put(k, make([]byte, maxBlockBytes))
	require.EqualValues(t, 1, c.Stats().Blocks)
}

// TestNoCache: what is too small for a cache is none, and none can be called like one.
func TestNoCache(t *testing.T) {
	for _, size := range []int64{-1, 0, 1, minCacheBytes - 1} {
		c, err := NewBlockCache(size)
		require.NoError(t, err)
		require.Nil(t, c)
		require.Zero(t, c.Stats())
		require.NoError(t, c.Close())
	}
	_, err := NewBlockCache(1 << 62)
	require.Error(t, err)
}

// TestCacheCloseWhileInUse closes a cache under its users: they find nothing, and touch no memory that is gone.
func TestCacheCloseWhileInUse(t *testing.T) {
	for range 20 {
		c, err := NewBlockCache(4 << 20)
		require.NoError(t, err)
		var users sync.WaitGroup
		stop := make(chan struct{})
		for g := range 4 {
			users.Go(func() {
				p := make([]byte, 4000)
				for i := int64(0); ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					k := blockKey{uint64(g%2 + 1), i % 800 * 4000}
					if c.get(k, p) {
						if !bytes.Equal(p, blockOf(k, 4000)) {
							t.Error("other bytes")
						}
					} else {
						c.put(k, blockOf(k, 4000))
					}
				}
			})
		}
		time.Sleep(time.Millisecond)
		require.NoError(t, c.Close())
		k := blockKey{9, 9}
		c.put(k, make([]byte, 100))
		require.False(t, c.get(k, make([]byte, 100)))
		require.Zero(t, c.Stats().Blocks)
		close(stop)
		users.Wait()
	}
}

func TestCacheHitAllocatesNothing(t *testing.T) {
	c := newCache(t, 1<<20)
	k := blockKey{1, 12345}
	c.put(k, blockOf(k, 4500))
	p := make([]byte, 4500)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if !c.get(k, p) {
			t.Fatal("gone")
		}
	}))
}

func BenchmarkCacheHit(b *testing.B) {
	c := newCache(b, 64<<20)
	const blocks, length = 10_000, 4500
	for i := range int64(blocks) {
		c.put(blockKey{1, i * length}, make([]byte, length))
	}
	b.SetBytes(length)
	b.RunParallel(func(pb *testing.PB) {
		p := make([]byte, length)
		for pb.Next() {
			c.get(blockKey{1, rand.Int64N(blocks) * length}, p)
		}
	})
}
