package vfsadapter

import (
	"encoding/binary"
	"sync"
	"unsafe"
)

// cacheShard is a part of the cache: a ring of entries, oldest first, and an index of them.
//
// A new entry goes to the head. Room is made at the tail: the oldest entry is dropped, or, if it was asked for since it
// was written there, moved to the head (it goes round once more for each time, up to maxLooks). So blocks that are read
// once, as by an iterator over everything, pass through without pushing out those that are read again. Blocks of tables
// that are gone are not asked for and go the same way; nobody has to find them.
//
//	OFFSET SIZE FIELD OF AN ENTRY
//	0      8    version of the file's content; 0: nothing up to the end of the ring
//	8      8    offset in the file, bytes
//	16     4    length of the block, bytes
//	20     4    looks at it since it was written here
//	24     -    the block, and up to 7 bytes until the next entry
type cacheShard struct {
	mu     sync.Mutex
	ring   []byte
	index  cacheIndex
	head   uint64 // bytes written to the ring since the start; the position in it is the remainder
	tail   uint64 // of the oldest entry, as head
	bytes  int64  // of blocks
	hits   int64
	misses int64
	_      [16]byte // the next shard's lock is on another cache line
}

var _ = [1]struct{}{}[unsafe.Sizeof(cacheShard{})%64]

const (
	entryHeader = 24
	entryAlign  = 8
	maxLooks    = 3
	maxMoves    = 32 // entries that one new entry moves: a bound on how long the lock is held
)

func entryBytes(block int) uint64 {
	return (entryHeader + uint64(block) + entryAlign - 1) &^ (entryAlign - 1)
}

// admits says whether a block is of a size to be kept.
func (s *cacheShard) admits(block int) bool {
	return block > 0 && block <= maxBlockBytes && entryBytes(block) <= uint64(len(s.ring)/maxBlockPart)
}

func (s *cacheShard) get(k blockKey, tag uint32, p []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot, at := s.find(k, tag)
	if slot < 0 || s.length(at) != len(p) {
		s.misses++
		return false
	}
	s.hits++
	s.setLooks(at, min(s.looks(at)+1, maxLooks))
	copy(p, s.ring[at+entryHeader:])
	return true
}

func (s *cacheShard) put(k blockKey, tag uint32, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.admits(len(p)) {
		return
	}
	if slot, at := s.find(k, tag); slot >= 0 {
		if s.length(at) == len(p) {
			return // two have read it at the same time
		}
		s.remove(slot, at)
	}
	n := entryBytes(len(p))
	for moves := maxMoves; !s.fits(n) || s.index.full(); {
		if s.dropOldest(moves > 0) {
			moves--
		}
	}
	at := s.take(n)
	e := s.ring[at:][:n:n]
	binary.LittleEndian.PutUint64(e, k.version)
	binary.LittleEndian.PutUint64(e[8:], uint64(k.off))
	binary.LittleEndian.PutUint32(e[16:], uint32(len(p)))
	binary.LittleEndian.PutUint32(e[20:], 0)
	copy(e[entryHeader:], p)
	s.index.add(tag, at)
	s.bytes += int64(len(p))
}

// find returns the slot of the index and the position in the ring of a block, or a negative slot.
func (s *cacheShard) find(k blockKey, tag uint32) (slot, at int) {
	slot = s.index.first(tag)
	for {
		slot, at = s.index.next(slot, tag)
		if slot < 0 || s.key(at) == k {
			return slot, at
		}
		slot = s.index.after(slot)
	}
}

// remove takes an entry out of the index. Its bytes go when the tail comes by.
func (s *cacheShard) remove(slot, at int) {
	s.bytes -= int64(s.length(at))
	s.index.remove(slot)
}

// fits reports whether an entry of n bytes can be taken at the head. Entries do not wrap round.
func (s *cacheShard) fits(n uint64) bool {
	size := uint64(len(s.ring))
	start := s.head
	if rest := size - start%size; rest < n {
		start += rest
	}
	return start+n-s.tail <= size
}

// take takes n bytes at the head, for which there is room, and returns their position.
func (s *cacheShard) take(n uint64) int {
	size := uint64(len(s.ring))
	at := s.head % size
	if rest := size - at; rest < n {
		if rest >= entryHeader {
			binary.LittleEndian.PutUint64(s.ring[at:], 0)
		}
		s.head += rest
		at = 0
	}
	s.head += n
	return int(at)
}

// dropOldest makes room at the tail, which is not at the head. With mayMove it moves an entry that was looked at, and says
// so. There is always room to move it to: what it leaves lies just before the tail, and if it does not fit between the
// head and the end of the ring then neither the head nor the tail is behind it.
func (s *cacheShard) dropOldest(mayMove bool) (moved bool) {
	size := uint64(len(s.ring))
	at := int(s.tail % size)
	if rest := size - uint64(at); rest < entryHeader || s.key(at).version == 0 {
		s.tail += rest
		return false
	}
	n := entryBytes(s.length(at))
	s.tail += n
	tag := uint32(s.key(at).hash())
	slot := s.index.at(tag, at)
	if slot < 0 {
		return false // was replaced
	}
	looks := s.looks(at)
	if looks == 0 || !mayMove {
		s.remove(slot, at)
		return false
	}
	to := s.take(n)
	copy(s.ring[to:][:n], s.ring[at:][:n])
	s.setLooks(to, looks-1)
	s.index.move(slot, tag, to)
	return true
}

// close forgets everything: the memory is about to go.
func (s *cacheShard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring, s.index = nil, cacheIndex{}
	s.head, s.tail, s.bytes = 0, 0, 0
}

func (s *cacheShard) addTo(t *CacheStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Hits += s.hits
	t.Misses += s.misses
	t.Bytes += s.bytes
	t.Blocks += int64(s.index.used)
}

func (s *cacheShard) key(at int) blockKey {
	return blockKey{binary.LittleEndian.Uint64(s.ring[at:]), int64(binary.LittleEndian.Uint64(s.ring[at+8:]))}
}

func (s *cacheShard) length(at int) int { return int(binary.LittleEndian.Uint32(s.ring[at+16:])) }

func (s *cacheShard) looks(at int) uint32 { return binary.LittleEndian.Uint32(s.ring[at+20:]) }

func (s *cacheShard) setLooks(at int, n uint32) { binary.LittleEndian.PutUint32(s.ring[at+20:], n) }
