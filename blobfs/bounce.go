package blobfs

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/blobkv/blobkv/internal/dmabuf"
)

const (
	// cachedBounce is the size of a buffer in the cache, in bytes: a table's block and what it shares its ends with.
	cachedBounce = 16 << 10
	// bounceSlots is how many there are at most, and bounceTries how many a reader looks at.
	bounceSlots = 32
	bounceTries = 4
)

// bounceMemory bounds the buffers of one file system that reads go through, in bytes: those the cache keeps, and some
// large ones.
const bounceMemory = 6 << 20

// bounceCache keeps a few buffers of device memory outside their pool, where readers find them without a lock that all
// of them share. The pool is the file system's own: what a file system keeps must not be missing to another one.
type bounceCache struct {
	mem    *dmabuf.Pool
	slots  [bounceSlots]bounceSlot
	closed atomic.Bool
}

// bounceSlot is a cache line, so that readers on different slots do not meet.
type bounceSlot struct {
	busy atomic.Bool
	buf  []byte // of whoever set busy; nil until it is first needed
	_    [32]byte
}

func (s *bounceSlot) take() bool { return !s.busy.Load() && s.busy.CompareAndSwap(false, true) }

// get returns a buffer of n bytes, and the slot it belongs to if it is not the pool's.
func (c *bounceCache) get(n int) ([]byte, *bounceSlot) {
	if n > cachedBounce {
		return c.mem.Get(n), nil
	}
	first := rand.Uint32() // readers that run at the same time seldom begin at the same slot
	for i := range uint32(bounceTries) {
		s := &c.slots[(first+i)%bounceSlots]
		if !s.take() {
			continue
		}
		if s.buf == nil {
			s.buf = c.mem.Get(cachedBounce)
		}
		return s.buf[:n], s
	}
	return c.mem.Get(n), nil
}

// put undoes get.
func (c *bounceCache) put(buf []byte, s *bounceSlot) {
	if s == nil {
		c.mem.Put(buf)
		return
	}
	s.busy.Store(false)
	if c.closed.Load() {
		c.drain()
	}
}

// close gives the cached buffers back. That of a read which is still under way follows when it ends.
func (c *bounceCache) close() {
	c.closed.Store(true)
	c.drain()
}

func (c *bounceCache) drain() {
	for i := range c.slots {
		s := &c.slots[i]
		if !s.take() {
			continue
		}
		if s.buf != nil {
			c.mem.Put(s.buf)
			s.buf = nil
		}
		s.busy.Store(false)
	}
}
