package blobstore

import (
	"encoding/binary"
	"math/bits"
)

// Checksum is a running XXH64 (seed 0): the checksum of vouched bytes, of frames and of checkpoint images. The zero
// value is that of no bytes; it may be copied.
//
// A CRC will not do here. What is summed up contains pieces that end with their own CRC (metadata pages always do,
// users' data may), and by its linearity the CRC of such a whole does not depend on what these pieces say: stale ones
// would pass.
type Checksum struct {
	lanes   [4]uint64
	tail    [32]byte // bytes that do not fill a stripe yet
	n       int      // of tail
	total   uint64
	started bool
}

// The primes of XXH64.
const (
	prime1 uint64 = 0x9e3779b185ebca87
	prime2 uint64 = 0xc2b2ae3d27d4eb4f
	prime3 uint64 = 0x165667b19e3779f9
	prime4 uint64 = 0x85ebca77c2b2ae63
	prime5 uint64 = 0x27d4eb2f165667c5
)

// Add appends bytes.
func (c *Checksum) Add(b []byte) {
	if !c.started {
		start := prime1 // a variable: the sums wrap around
		c.lanes = [4]uint64{start + prime2, prime2, 0, -start}
		c.started = true
	}
	c.total += uint64(len(b))
	if c.n > 0 {
		k := copy(c.tail[c.n:], b)
		c.n += k
		b = b[k:]
		if c.n < len(c.tail) {
			return
		}
		c.stripes(c.tail[:])
	}
	b = c.stripes(b)
	c.n = copy(c.tail[:], b)
}

// stripes mixes in whole stripes of 32 bytes and returns the rest.
func (c *Checksum) stripes(b []byte) []byte {
	v1, v2, v3, v4 := c.lanes[0], c.lanes[1], c.lanes[2], c.lanes[3]
	for ; len(b) >= 32; b = b[32:] {
		v1 = round(v1, binary.LittleEndian.Uint64(b))
		v2 = round(v2, binary.LittleEndian.Uint64(b[8:]))
		v3 = round(v3, binary.LittleEndian.Uint64(b[16:]))
		v4 = round(v4, binary.LittleEndian.Uint64(b[24:]))
	}
	c.lanes = [4]uint64{v1, v2, v3, v4}
	return b
}

func round(lane, input uint64) uint64 { return bits.RotateLeft64(lane+input*prime2, 31) * prime1 }

// Sum is the checksum of all bytes so far; more may follow.
func (c *Checksum) Sum() uint64 {
	h := prime5
	if c.total >= 32 {
		v := c.lanes
		h = bits.RotateLeft64(v[0], 1) + bits.RotateLeft64(v[1], 7) + bits.RotateLeft64(v[2], 12) + bits.RotateLeft64(v[3], 18)
		for _, lane := range v {
			h = (h^round(0, lane))*prime1 + prime4
		}
	}
	return avalanche(mixTail(h+c.total, c.tail[:c.n]))
}

// mixTail mixes in what does not fill a stripe.
func mixTail(h uint64, b []byte) uint64 {
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^round(0, binary.LittleEndian.Uint64(b)), 27)*prime1 + prime4
	}
	if len(b) >= 4 {
		h = bits.RotateLeft64(h^uint64(binary.LittleEndian.Uint32(b))*prime1, 23)*prime2 + prime3
		b = b[4:]
	}
	for _, v := range b {
		h = bits.RotateLeft64(h^uint64(v)*prime5, 11) * prime1
	}
	return h
}

func avalanche(h uint64) uint64 {
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return h ^ h>>32
}
