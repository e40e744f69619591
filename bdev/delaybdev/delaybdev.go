package delaybdev

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/blobkv/blobkv/bdev"
)

// tailShare of the operations, one in a hundred, take Latency.Tail: so that is about their 99th percentile.
const tailShare = 0.01

// Latency is the delay of one kind of operation. The zero value adds none.
type Latency struct {
	Typical time.Duration
	Tail    time.Duration // of one operation in a hundred, if longer than Typical
}

// Backend is a backend that delays operations. All methods may be called from any goroutine.
type Backend struct {
	*bdev.Relay

	mu struct {
		sync.Mutex
		rng       *rand.Rand
		latencies map[bdev.Op]Latency
	}
}

var _ bdev.Backend = (*Backend)(nil)

// New puts a backend without delays on top of another one, which it owns. The seed decides which operations take
// long.
func New(lower bdev.Backend, seed uint64) *Backend {
	b := &Backend{}
	b.Relay = bdev.NewRelay(lower, filter{b})
	b.mu.rng = rand.New(rand.NewPCG(seed, 0))
	b.mu.latencies = make(map[bdev.Op]Latency)
	return b
}

// Set changes the delay of an operation, from the next one submitted on.
func (b *Backend) Set(op bdev.Op, l Latency) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.latencies[op] = l
}

// SetAll changes the delay of every operation.
func (b *Backend) SetAll(l Latency) {
	for _, op := range bdev.AllOps() {
		b.Set(op, l)
	}
}

// draw returns the delay of one operation.
func (b *Backend) draw(op bdev.Op) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.mu.latencies[op]
	if l.Tail > l.Typical && b.mu.rng.Float64() < tailShare {
		return l.Tail
	}
	return l.Typical
}

// filter hooks the delays into the relay. It is a type of its own to keep its methods out of Backend's.
type filter struct{ b *Backend }

func (f filter) Begin(lower *bdev.Request) bdev.Verdict {
	return bdev.Verdict{Delay: f.b.draw(lower.Op)}
}

func (f filter) End(_ *bdev.Request, _ bdev.Verdict, err error) error { return err }
