package main

import (
	"encoding/binary"
	"fmt"
)

// pattern is content that every offset can be checked against: each 8-byte word is a mix of its offset and the seed.
type pattern struct{ seed uint64 }

func (p pattern) word(off int64) uint64 {
	x := (uint64(off) ^ p.seed) * 0x9e3779b97f4a7c15
	return x ^ x>>29
}

// fill writes the content of byte offset off, a multiple of 8, into b.
func (p pattern) fill(b []byte, off int64) {
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], p.word(off+int64(i)))
	}
}

// check compares b with the content of offset off; a difference is errContent with the place.
func (p pattern) check(b []byte, off int64) error {
	for i := 0; i+8 <= len(b); i += 8 {
		if got, want := binary.LittleEndian.Uint64(b[i:]), p.word(off+int64(i)); got != want {
			return fmt.Errorf("verify: offset %d: expected %#016x, got %#016x: %w", off+int64(i), want, got, errContent)
		}
	}
	return nil
}
