package blobstore

import (
	"slices"

	"github.com/blobkv/blobkv/bdev"
)

// space knows which clusters are free. Guarded by Store.mu.
type space struct {
	used    bitmap
	hint    int           // no cluster below is free
	pending []pendingFree // given up by transactions that may not be durable yet, in LSN order
	waiting int64         // clusters of pending
	settled int64         // clusters that were pending and have become free, ever

	// On a sparse image only:
	sparse   bool
	backed   bitmap // clusters that are known to have the host's space
	punching bool   // a punch is under way; its clusters are marked as used
	punched  int64  // how many these are
}

// pendingFree is a run of clusters that become free when the transaction that gave them up is durable and the I/O that
// was mapped to them is done.
type pendingFree struct {
	lsn  LSN
	runs []extent
	uses []*useCount
}

func newSpace(used bitmap, sparse bool) space {
	s := space{used: used, sparse: sparse}
	if sparse {
		s.backed = newBitmap(used.len())
	}
	return s
}

// free is the number of clusters that are free or will be.
func (s *space) free() int64 { return int64(s.used.len()-s.used.count()) + s.waiting + s.punched }

// alloc takes n clusters: after cluster goal if the blob can go on there, otherwise the lowest run that is long enough,
// otherwise the lowest clusters there are. It takes all or nothing.
func (s *space) alloc(n int64, goal clusterIndex) ([]extent, bool) {
	if n > int64(s.used.len()-s.used.count()) {
		return nil, false
	}
	var runs []extent
	take := func(first, count int) {
		s.used.setRange(first, count)
		runs = appendExtent(runs, extent{clusterIndex(first), uint32(count)})
		n -= int64(count)
	}
	if goal != 0 {
		if k := s.freeRun(int(goal), n); k > 0 {
			take(int(goal), k)
		}
	}
	s.hint = max(0, s.used.nextClear(s.hint))
	if n > 0 {
		if first := s.firstFit(n); first >= 0 {
			take(first, int(n))
		}
	}
	for at := s.hint; n > 0; {
		first := s.used.nextClear(at)
		k := s.freeRun(first, n)
		take(first, k)
		at = first + k
	}
	return runs, true
}

// freeRun is the length of the free run at first, at most n.
func (s *space) freeRun(first int, n int64) int {
	if first >= s.used.len() || s.used.test(first) {
		return 0
	}
	end := s.used.nextSet(first)
	if end < 0 {
		end = s.used.len()
	}
	return int(min(int64(end-first), n))
}

// firstFit is the start of the lowest free run of n clusters, or -1.
func (s *space) firstFit(n int64) int {
	for at := s.hint; ; {
		first := s.used.nextClear(at)
		if first < 0 {
			return -1
		}
		k := s.freeRun(first, n)
		if int64(k) == n {
			return first
		}
		at = first + k
	}
}

// put makes runs free at once.
func (s *space) put(runs []extent) {
	for _, r := range runs {
		s.used.clearRange(int(r.start), int(r.count))
		s.hint = min(s.hint, int(r.start))
	}
}

// giveUp queues runs until transaction lsn is durable and uses are zero.
func (s *space) giveUp(lsn LSN, runs []extent, uses []*useCount) {
	if len(runs) == 0 {
		return
	}
	s.pending = append(s.pending, pendingFree{lsn, runs, uses})
	s.waiting += clustersOf(runs)
}

// settle frees what may be freed by now and reports whether anything was.
func (s *space) settle(durable LSN) bool {
	n := len(s.pending)
	s.pending = slices.DeleteFunc(s.pending, func(p pendingFree) bool {
		if p.lsn > durable || slices.ContainsFunc(p.uses, func(u *useCount) bool { return u.n.Load() != 0 }) {
			return false
		}
		s.put(p.runs)
		s.waiting -= clustersOf(p.runs)
		s.settled += clustersOf(p.runs)
		return true
	})
	return len(s.pending) < n
}

func clustersOf(runs []extent) int64 {
	n := int64(0)
	for _, r := range runs {
		n += int64(r.count)
	}
	return n
}

// unbacked is the part of runs that the host may have no space for yet.
func (s *space) unbacked(runs []extent) []extent {
	if !s.sparse {
		return nil
	}
	var list []extent
	for _, r := range runs {
		for c := r.start; c < r.start+clusterIndex(r.count); c++ {
			if !s.backed.test(int(c)) {
				list = appendExtent(list, extent{c, 1})
			}
		}
	}
	return list
}

// reclaim tries to get clusters for a transaction that found too few: it makes pending frees durable, or waits for
// a punch. It reports whether there may be more now. The caller holds mu, which is let go meanwhile.
func (s *Store) reclaim() bool {
	if s.space.punching {
		s.changed.Wait()
		return true
	}
	if len(s.space.pending) == 0 {
		return false
	}
	before := s.space.settled
	lsn := s.space.pending[len(s.space.pending)-1].lsn
	if lsn > s.DurableLSN() {
		s.mu.Unlock()
		err := s.Sync(lsn)
		s.mu.Lock()
		if err != nil {
			return false
		}
	}
	s.space.settle(s.DurableLSN())
	return s.space.settled > before
}

// back reserves the host's space for clusters that a transaction is about to use. The caller holds mu, which is let
// go meanwhile.
func (s *Store) back(runs []extent) error {
	s.mu.Unlock()
	var err error
	for _, r := range runs {
		n := int64(r.count) * int64(s.super.clusterSize)
		if err = doRetry(s.dev, bdev.OpAllocate, nil, s.super.clusterOffset(r.start), n); err != nil {
			break
		}
	}
	s.mu.Lock()
	if err == nil {
		for _, r := range runs {
			s.space.backed.setRange(int(r.start), int(r.count))
		}
	}
	return err
}

// Punching gives free space of a sparse image back to the host, in bulk and never on the path of a delete. Clusters
// that were written before are cheaper to write again than fresh ones, so a reserve of them is kept.
const (
	punchReserve = 64 << 20 // bytes of free, backed space that stay
	punchMinimum = 64 << 20 // bytes beyond the reserve that are worth a punch
)

// punchable returns the free, backed runs that should be given back, highest first. The caller holds mu.
func (s *space) punchable(clusterSize int64) []extent {
	if !s.sparse || s.punching {
		return nil
	}
	idle := int64(0)
	var runs []extent
	s.backed.ranges(func(first, count int) {
		for c := first; c < first+count; c++ {
			if !s.used.test(c) {
				idle++
				runs = appendExtent(runs, extent{clusterIndex(c), 1})
			}
		}
	})
	// A quarter of the used space is kept besides: a store that shrinks and grows by compactions reuses it at once.
	excess := idle - punchReserve/clusterSize - int64(s.used.count())/4
	if excess < punchMinimum/clusterSize {
		return nil
	}
	slices.Reverse(runs)
	n := 0
	for ; n < len(runs) && excess > 0; n++ {
		r := &runs[n]
		if over := int64(r.count) - excess; over > 0 {
			r.start, r.count = r.start+clusterIndex(over), uint32(excess)
		}
		excess -= int64(r.count)
	}
	return runs[:n]
}

// punch gives free space back to the host if there is enough of it. A failure costs nothing but that space.
func (s *Store) punch() {
	s.mu.Lock()
	runs := s.space.punchable(int64(s.super.clusterSize))
	if len(runs) == 0 || s.Err() != nil {
		s.mu.Unlock()
		return
	}
	s.space.punching, s.space.punched = true, clustersOf(runs)
	for _, r := range runs {
		s.space.used.setRange(int(r.start), int(r.count))
		s.space.backed.clearRange(int(r.start), int(r.count))
	}
	s.mu.Unlock()
	for _, r := range runs {
		_ = s.dev.Unmap(s.super.clusterOffset(r.start), int64(r.count)*int64(s.super.clusterSize))
	}
	s.mu.Lock()
	s.space.put(runs)
	s.space.punching, s.space.punched = false, 0
	s.changed.Broadcast()
	s.mu.Unlock()
}
