package spec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrShort is returned when there are fewer bytes than a structure has.
var ErrShort = errors.New("too few bytes for the structure")

var le = binary.LittleEndian

// codec visits the fields of one structure, in either direction.
type codec struct {
	b       []byte
	encode  bool
	visited func(offset, size int) // tests look for fields that overlap
}

// layout lists the fields of a structure.
type layout func(*codec)

func unmarshal(b []byte, size int, fields layout) error {
	if len(b) < size {
		return fmt.Errorf("%d bytes, want %d: %w", len(b), size, ErrShort)
	}
	fields(&codec{b: b[:size]})
	return nil
}

// marshal writes all size bytes: what no field covers becomes zero.
func marshal(b []byte, size int, fields layout) error {
	if len(b) < size {
		return fmt.Errorf("%d bytes, want %d: %w", len(b), size, ErrShort)
	}
	clear(b[:size])
	fields(&codec{b: b[:size], encode: true})
	return nil
}

func (c *codec) at(offset, size int) []byte {
	if c.visited != nil {
		c.visited(offset, size)
	}
	return c.b[offset : offset+size]
}

func (c *codec) u8(offset int, v *uint8) {
	if b := c.at(offset, 1); c.encode {
		b[0] = *v
	} else {
		*v = b[0]
	}
}

func (c *codec) u16(offset int, v *uint16) {
	if b := c.at(offset, 2); c.encode {
		le.PutUint16(b, *v)
	} else {
		*v = le.Uint16(b)
	}
}

func (c *codec) u32(offset int, v *uint32) {
	if b := c.at(offset, 4); c.encode {
		le.PutUint32(b, *v)
	} else {
		*v = le.Uint32(b)
	}
}

func (c *codec) u64(offset int, v *uint64) {
	if b := c.at(offset, 8); c.encode {
		le.PutUint64(b, *v)
	} else {
		*v = le.Uint64(b)
	}
}

func (c *codec) u128(offset int, v *Uint128) {
	c.u64(offset, &v.Lo)
	c.u64(offset+8, &v.Hi)
}

func (c *codec) bytes(offset int, v []byte) {
	if b := c.at(offset, len(v)); c.encode {
		copy(b, v)
	} else {
		copy(v, b)
	}
}

// sub lays a structure out within another one.
func (c *codec) sub(offset, size int, fields layout) {
	inner := codec{b: c.b[offset : offset+size], encode: c.encode}
	if c.visited != nil {
		inner.visited = func(o, n int) { c.visited(offset+o, n) }
	}
	fields(&inner)
}

// Uint128 is a 16-byte counter.
type Uint128 struct{ Lo, Hi uint64 }

// Float is the number as the nearest float64.
func (u Uint128) Float() float64 { return float64(u.Hi)*(1<<64) + float64(u.Lo) }

// Saturated is the number, or the largest uint64 when it does not fit.
func (u Uint128) Saturated() uint64 {
	if u.Hi != 0 {
		return ^uint64(0)
	}
	return u.Lo
}

// bits takes n bits of v from bit position at on.
func bits[T uint8 | uint16 | uint32 | uint64](v T, at, n int) T { return v >> at & (1<<n - 1) }
