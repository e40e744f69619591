package aiobdev

import "sync/atomic"

// slots is a lock-free stack of the free entries of a queue. Submitters on any goroutine take entries while the
// poller gives them back, and neither may wait for the other: a submitter can be stuck in the kernel.
//
// top holds the entry on top plus one (0: empty) in its low half and a count of changes in its high half. The count
// makes a compare-and-swap fail when entries went and came back in between (the ABA problem).
type slots struct {
	top  atomic.Uint64
	next []atomic.Uint32 // per entry: the one below it plus one
}

// newSlots returns n free entries, numbered from 0; low ones are taken first.
func newSlots(n int) *slots {
	s := &slots{next: make([]atomic.Uint32, n)}
	for i := n - 1; i >= 0; i-- {
		s.put(uint32(i))
	}
	return s
}

// take removes a free entry; ok is false when there is none.
func (s *slots) take() (slot uint32, ok bool) {
	for {
		top := s.top.Load()
		index := uint32(top)
		if index == 0 {
			return 0, false
		}
		below := s.next[index-1].Load()
		if s.top.CompareAndSwap(top, advance(top, below)) {
			return index - 1, true
		}
	}
}

// put gives an entry back that take returned.
func (s *slots) put(slot uint32) {
	for {
		top := s.top.Load()
		s.next[slot].Store(uint32(top))
		if s.top.CompareAndSwap(top, advance(top, slot+1)) {
			return
		}
	}
}

// advance returns top's successor with another entry on top.
func advance(top uint64, index uint32) uint64 {
	return (top>>32+1)<<32 | uint64(index)
}
