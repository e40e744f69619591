package dmabuf

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/blobkv/blobkv/internal/invariants"
)

const (
	// MinClass is the smallest buffer and the alignment of all.
	MinClass = 4 << 10
	// MaxClass is the largest buffer.
	MaxClass = 4 << 20

	numClasses = 11 // 4 KiB << 10 = 4 MiB
	poison     = 0xDB
)

// DefaultLimit bounds Default, in bytes.
const DefaultLimit = 8 << 20

// Default is the pool of the block layer's bounce buffers, which are held for one request each.
var Default = NewPool(DefaultLimit)

// held is the memory of all pools, in bytes.
var held atomic.Int64

// Held returns how many bytes all pools of the process hold, handed out or idle. Tests watch it.
func Held() int64 { return held.Load() }

// Pool hands out device buffers up to a bound, which holds for those that are handed out and those that are kept for the
// next Get together.
type Pool struct {
	mu struct {
		sync.Mutex
		free    [numClasses][][]byte
		used    int64 // bytes handed out
		idle    int64 // bytes in free
		waiting int   // goroutines in Get
		mapped  map[*byte]mapping
		epoch   uint32 // of the buffers in free
	}
	room  sync.Cond // mu; signalled when used falls
	limit int64
	keep  int64 // idle bytes that are kept
}

// Stats of a Pool, in bytes.
type Stats struct {
	Used, Idle, Limit int64
	Waiting           int // goroutines blocked in Get
}

// NewPool makes a pool that holds at most limitBytes, handed out or idle. A single buffer above the bound is given when
// nothing else is out, so that no size can wait for ever.
func NewPool(limitBytes int64) *Pool {
	p := &Pool{limit: limitBytes, keep: max(limitBytes/4, MaxClass)}
	p.room.L = &p.mu
	p.mu.mapped = make(map[*byte]mapping)
	p.mu.epoch = epoch.Load()
	return p
}

// Get returns a buffer of length n, capacity the size class, 4 KiB aligned, contents undefined. It waits while the
// bound is reached. It panics when n is not in 1..MaxClass, which is a mistake in the calling program.
func (p *Pool) Get(n int) []byte {
	class := classOf(n)
	p.mu.Lock()
	p.mu.waiting++
	for !p.fits(class) {
		p.room.Wait()
	}
	p.mu.waiting--
	return p.take(class)[:n]
}

// TryGet is Get that answers false instead of waiting.
func (p *Pool) TryGet(n int) ([]byte, bool) {
	class := classOf(n)
	p.mu.Lock()
	if !p.fits(class) {
		p.mu.Unlock()
		return nil, false
	}
	return p.take(class)[:n], true
}

// fits is called with mu held.
func (p *Pool) fits(class int) bool {
	return p.mu.used == 0 || p.mu.used+classBytes(class) <= p.limit
}

// take is called with mu held and releases it.
func (p *Pool) take(class int) []byte {
	bytes := classBytes(class)
	p.mu.used += bytes
	now := epoch.Load()
	var drop []mapping
	if now != p.mu.epoch {
		p.mu.epoch = now
		drop = p.forgetIdle()
	}
	list := p.mu.free[class]
	if len(list) > 0 {
		b := list[len(list)-1]
		p.mu.free[class] = list[:len(list)-1]
		p.mu.idle -= bytes
		p.mu.Unlock()
		return b
	}
	drop = append(drop, p.fitLimit()...)
	p.mu.Unlock()
	for _, m := range drop { // not under the lock: it is a system call
		m.release()
	}
	held.Add(bytes)
	region := mapMemory(int(bytes))
	b := Aligned(region, alignOf(class))[:bytes:bytes]
	track(b)
	p.mu.Lock()
	p.mu.mapped[&b[0]] = mapping{buffer: b, region: region, epoch: now}
	p.mu.Unlock()
	return b
}

// Put returns a buffer that Get gave, at any length but with its capacity and start unchanged. The caller must not
// touch it again.
func (p *Pool) Put(b []byte) {
	b = b[:cap(b)]
	class := classOf(len(b))
	if invariants.Enabled {
		fill(b, poison)
	}
	bytes := classBytes(class)
	p.mu.Lock()
	m, ok := p.mu.mapped[&b[0]]
	if !ok {
		p.mu.Unlock()
		panic(fmt.Sprintf("dmabuf: Put of %d bytes that Get did not give", len(b)))
	}
	p.mu.used -= bytes
	var drop []mapping
	keep := m.epoch == p.mu.epoch
	if keep {
		drop = p.makeRoom(class+1, bytes)
		keep = p.mu.idle+bytes <= p.keep && p.mu.used+p.mu.idle+bytes <= p.limit
	}
	if keep {
		p.mu.free[class] = append(p.mu.free[class], b)
		p.mu.idle += bytes
	} else {
		p.forget(b)
	}
	if p.mu.waiting > 0 {
		p.room.Broadcast()
	}
	p.mu.Unlock()
	if !keep {
		m.release()
	}
	for _, m := range drop {
		m.release()
	}
}

// forget is called with mu held; the caller releases what it returns.
func (p *Pool) forget(b []byte) mapping {
	m := p.mu.mapped[&b[0]]
	delete(p.mu.mapped, &b[0])
	held.Add(-int64(len(b)))
	return m
}

// forgetIdle is called with mu held; the caller releases what it returns.
func (p *Pool) forgetIdle() (drop []mapping) {
	for class := range p.mu.free {
		for _, b := range p.mu.free[class] {
			drop = append(drop, p.forget(b))
		}
		p.mu.free[class] = nil
	}
	p.mu.idle = 0
	return drop
}

// fitLimit gives idle memory up until all of the pool is within its limit; see forgetLarge.
func (p *Pool) fitLimit() []mapping {
	return p.forgetLarge(0, func() bool { return p.mu.used+p.mu.idle > p.limit })
}

// makeRoom gives idle memory of classes from least on up until bytes more may be idle: a few large buffers that nobody uses
// shall not have small ones mapped and unmapped each time. See forgetLarge.
func (p *Pool) makeRoom(least int, bytes int64) []mapping {
	return p.forgetLarge(least, func() bool {
		return p.mu.idle+bytes > p.keep || p.mu.used+p.mu.idle+bytes > p.limit
	})
}

// forgetLarge gives idle memory up, large buffers first and none below a class, while there is too much, and returns what
// to release. It is called with mu held.
func (p *Pool) forgetLarge(least int, tooMuch func() bool) (drop []mapping) {
	for class := numClasses - 1; class >= least && tooMuch(); class-- {
		for n := len(p.mu.free[class]); n > 0 && tooMuch(); n-- {
			drop = append(drop, p.forget(p.mu.free[class][n-1]))
			p.mu.free[class] = p.mu.free[class][:n-1]
			p.mu.idle -= classBytes(class)
		}
	}
	return drop
}

// Trim gives all idle memory back to the operating system.
func (p *Pool) Trim() {
	p.mu.Lock()
	drop := p.forgetIdle()
	p.mu.Unlock()
	for _, m := range drop {
		m.release()
	}
}

// Close gives idle memory back and reports buffers that were never put.
func (p *Pool) Close() error {
	p.Trim()
	if s := p.Stats(); s.Used != 0 {
		return fmt.Errorf("dmabuf: pool closed with %d bytes handed out", s.Used)
	}
	return nil
}

// Limit is the bound the pool was made with, in bytes.
func (p *Pool) Limit() int64 { return p.limit }

// Stats returns the present figures.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Used: p.mu.used, Idle: p.mu.idle, Limit: p.limit, Waiting: p.mu.waiting}
}

// classOf is the class that holds n bytes.
func classOf(n int) int {
	if n < 1 || n > MaxClass {
		panic(fmt.Sprintf("dmabuf: buffer of %d bytes, only 1 to %d are possible", n, MaxClass))
	}
	if n <= MinClass {
		return 0
	}
	return bits.Len(uint(n-1)) - bits.Len(uint(MinClass-1))
}

func classBytes(class int) int64 { return MinClass << class }

func fill(b []byte, v byte) {
	for i := range b {
		b[i] = v
	}
}
