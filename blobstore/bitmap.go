package blobstore

import "math/bits"

// bitmap is a fixed-length set of bits that keeps its count. The zero value is empty and has no room.
type bitmap struct {
	words []uint64
	n     int // bits
	ones  int
}

func newBitmap(n int) bitmap { return bitmap{words: make([]uint64, (n+63)/64), n: n} }

// len is the number of bits.
func (b *bitmap) len() int { return b.n }

// count is the number of bits that are set.
func (b *bitmap) count() int { return b.ones }

// test reports whether bit i is set; bits outside the map are not.
func (b *bitmap) test(i int) bool {
	return i >= 0 && i < b.n && b.words[i/64]&(1<<(i%64)) != 0
}

// set sets bit i and reports whether it was clear before. A bit outside the map is ignored.
func (b *bitmap) set(i int) bool {
	if i < 0 || i >= b.n || b.test(i) {
		return false
	}
	b.words[i/64] |= 1 << (i % 64)
	b.ones++
	return true
}

// clear clears bit i and reports whether it was set before.
func (b *bitmap) clear(i int) bool {
	if !b.test(i) {
		return false
	}
	b.words[i/64] &^= 1 << (i % 64)
	b.ones--
	return true
}

// setRange sets count bits from first.
func (b *bitmap) setRange(first, count int) {
	for i := first; i < first+count; i++ {
		b.set(i)
	}
}

// clearRange clears count bits from first.
func (b *bitmap) clearRange(first, count int) {
	for i := first; i < first+count; i++ {
		b.clear(i)
	}
}

// nextSet is the first set bit at or after from, or -1.
func (b *bitmap) nextSet(from int) int { return b.next(from, 0) }

// nextClear is the first clear bit at or after from, or -1.
func (b *bitmap) nextClear(from int) int { return b.next(from, ^uint64(0)) }

// next finds the first set bit of words XOR flip at or after from, a word at a time.
func (b *bitmap) next(from int, flip uint64) int {
	if from < 0 {
		from = 0
	}
	for from < b.n {
		w := (b.words[from/64] ^ flip) >> (from % 64)
		if w != 0 {
			from += bits.TrailingZeros64(w)
			break
		}
		from = (from/64 + 1) * 64
	}
	if from >= b.n {
		return -1
	}
	return from
}

// clone is an independent copy.
func (b *bitmap) clone() bitmap {
	return bitmap{words: append([]uint64(nil), b.words...), n: b.n, ones: b.ones}
}

// equal reports whether both have the same length and bits.
func (b *bitmap) equal(o *bitmap) bool {
	if b.n != o.n || b.ones != o.ones {
		return false
	}
	for i, w := range b.words {
		if w != o.words[i] {
			return false
		}
	}
	return true
}

// ranges calls f for each run of set bits, ascending.
func (b *bitmap) ranges(f func(first, count int)) {
	for first := b.nextSet(0); first >= 0; {
		end := b.nextClear(first)
		if end < 0 {
			end = b.n
		}
		f(first, end-first)
		first = b.nextSet(end)
	}
}
