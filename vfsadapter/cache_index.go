package vfsadapter

import "encoding/binary"

// cacheIndex is a hash table with linear probing that maps tags, the lower half of a key's hash, to positions in the
// ring. Tags may collide: whoever looks compares keys. It holds no pointers and lies in memory it was given.
//
// A slot is the tag in the upper half and, in the lower one, the position in units of entryAlign plus one; 0 is empty. The
// zero value is a table without slots, in which nothing is found.
type cacheIndex struct {
	slots []byte
	n     int // slots
	used  int
}

const slotBytes = 8

// newCacheIndex makes a table in zeroed memory.
func newCacheIndex(memory []byte) cacheIndex {
	return cacheIndex{slots: memory, n: len(memory) / slotBytes}
}

func (x *cacheIndex) load(slot int) uint64 {
	return binary.LittleEndian.Uint64(x.slots[slot*slotBytes:])
}

func (x *cacheIndex) store(slot int, v uint64) {
	binary.LittleEndian.PutUint64(x.slots[slot*slotBytes:], v)
}

func slotValue(tag uint32, at int) uint64 { return uint64(tag)<<32 | uint64(at/entryAlign+1) }

func slotTag(v uint64) uint32 { return uint32(v >> 32) }

func slotPosition(v uint64) int { return int(uint32(v)-1) * entryAlign }

// full says that no entry may be added: probing gets slow as a table fills up.
func (x *cacheIndex) full() bool { return x.used >= x.n/4*3 }

// first is the slot where the search for a tag begins.
func (x *cacheIndex) first(tag uint32) int { return int(uint64(tag) * uint64(x.n) >> 32) }

func (x *cacheIndex) after(slot int) int {
	if slot++; slot < x.n {
		return slot
	}
	return 0
}

// next returns the first slot at or behind the given one that has the tag, and its position; a negative slot if there is
// none. One slot is always empty.
func (x *cacheIndex) next(slot int, tag uint32) (int, int) {
	if x.n == 0 {
		return -1, 0
	}
	for {
		v := x.load(slot)
		switch {
		case v == 0:
			return -1, 0
		case slotTag(v) == tag:
			return slot, slotPosition(v)
		}
		slot = x.after(slot)
	}
}

// at returns the slot of a position, whose tag is given; negative if there is none.
func (x *cacheIndex) at(tag uint32, at int) int {
	slot := x.first(tag)
	for {
		found, pos := x.next(slot, tag)
		if found < 0 || pos == at {
			return found
		}
		slot = x.after(found)
	}
}

// add adds a position. The table is not full.
func (x *cacheIndex) add(tag uint32, at int) {
	slot := x.first(tag)
	for x.load(slot) != 0 {
		slot = x.after(slot)
	}
	x.store(slot, slotValue(tag, at))
	x.used++
}

// move changes a position.
func (x *cacheIndex) move(slot int, tag uint32, at int) { x.store(slot, slotValue(tag, at)) }

// remove empties a slot and closes the gap that would end the search for those behind it.
func (x *cacheIndex) remove(slot int) {
	x.used--
	hole := slot
	for next := x.after(slot); ; next = x.after(next) {
		v := x.load(next)
		if v == 0 {
			break
		}
		if x.distance(x.first(slotTag(v)), next) >= x.distance(hole, next) {
			x.store(hole, v)
			hole = next
		}
	}
	x.store(hole, 0)
}

// distance is the way from one slot forward to another.
func (x *cacheIndex) distance(from, to int) int {
	if to >= from {
		return to - from
	}
	return to + x.n - from
}
