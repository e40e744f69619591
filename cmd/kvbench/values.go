package main

import "math/rand/v2"

const (
	valuePoolSize     = 1 << 20 // bytes; larger than any block, so that a block never compresses by repeated values
	valueFragmentSize = 128     // bytes; each holds its share of random bytes and repeats them
)

// valuePool is the bytes that values are cut from. They compress to a given ratio at any length from a fragment up.
type valuePool struct {
	data []byte
	next int
}

// newValuePool fills a pool. Every fragment starts with ratio parts of random bytes and repeats them to its end, which
// any compressor with a short window finds.
func newValuePool(rng *rand.Rand, valueSize int, ratio float64) *valuePool {
	p := &valuePool{data: make([]byte, max(valuePoolSize, 2*valueSize))}
	random := min(max(int(valueFragmentSize*ratio), 1), valueFragmentSize)
	for start := 0; start < len(p.data); start += valueFragmentSize {
		fragment := p.data[start:min(start+valueFragmentSize, len(p.data))]
		for i := range fragment {
			if i < random {
				fragment[i] = byte(' ' + rng.Uint32N(95))
			} else {
				fragment[i] = fragment[i-random]
			}
		}
	}
	return p
}

// take returns the next value of n bytes. It is valid for ever and must not be changed.
func (p *valuePool) take(n int) []byte {
	if p.next+n > len(p.data) {
		p.next = 0
	}
	v := p.data[p.next : p.next+n]
	p.next += n
	return v
}

// view is a second reader of the same bytes, at its own place, for another goroutine.
func (p *valuePool) view(place int) *valuePool {
	return &valuePool{data: p.data, next: place % len(p.data)}
}
