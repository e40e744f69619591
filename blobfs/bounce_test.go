package blobfs

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/dmabuf"
)

// TestBounceCache: no two readers have the same memory, and all of it is back in the pool in the end, that of a reader
// which ends after the cache was closed included.
func TestBounceCache(t *testing.T) {
	c := bounceCache{mem: dmabuf.NewPool(4 * bounceSlots * cachedBounce)}
	var wg sync.WaitGroup
	for g := range 2 * bounceSlots {
		wg.Go(func() {
			for i := range 500 {
				buf, slot := c.get(1 + (g*997+i*4096)%(2*cachedBounce))
				mark := byte(g)
				buf[0], buf[len(buf)-1] = mark, mark
				if i%8 == 0 {
					c.put(c.get(cachedBounce))
				}
				if buf[0] != mark || buf[len(buf)-1] != mark {
					t.Error("a buffer was given to two readers")
				}
				c.put(buf, slot)
			}
		})
	}
	wg.Wait()
	late, slot := c.get(4096)
	require.NotNil(t, slot, "nobody else has one")
	require.Positive(t, c.mem.Stats().Used)
	c.close()
	require.Equal(t, int64(cachedBounce), c.mem.Stats().Used)
	c.put(late, slot)
	require.NoError(t, c.mem.Close())
}
