package main

import "math/rand/v2"

const (
	valuePoolSize     = 1 << 20 // bytes; larger than any block, so that a block never compresses by repeated values
	valueFragmentSize = 128     // bytes, at most; each holds its share of random bytes and repeats them
)

// valuePool is the bytes that values are cut from: a row of values of the session's size, each of which compresses to a
// given ratio.
type valuePool struct {
	data []byte
	size int // of the values; a value is cut where one of them starts
	next int
}

// newValuePool fills a pool. Every fragment starts with ratio parts of random bytes and repeats them to its end, which
// any compressor with a short window finds. Values are whole fragments: one that began in the middle of a fragment would
// hold random bytes without their repetition, and one shorter than a fragment hardly any repetition at all.
func newValuePool(rng *rand.Rand, valueSize int, ratio float64) *valuePool {
	size := max(valueSize, 1)
	p := &valuePool{data: make([]byte, max(valuePoolSize/size, 2)*size), size: size}
	for start := 0; start < len(p.data); start += size {
		fillValue(rng, p.data[start:start+size], ratio)
	}
	return p
}

func fillValue(rng *rand.Rand, value []byte, ratio float64) {
	n := (len(value) + valueFragmentSize - 1) / valueFragmentSize
	for i := range n {
		fragment := value[len(value)*i/n : len(value)*(i+1)/n]
		random := min(max(int(float64(len(fragment))*ratio), 1), len(fragment))
		for i := range fragment {
			if i < random {
				fragment[i] = byte(' ' + rng.Uint32N(95))
			} else {
				fragment[i] = fragment[i-random]
			}
		}
	}
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
	place %= len(p.data)
	return &valuePool{data: p.data, size: p.size, next: place - place%p.size}
}
