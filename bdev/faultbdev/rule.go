package faultbdev

import (
	"math"
	"sync/atomic"

	"github.com/blobkv/blobkv/bdev"
)

// Always, as Rule.Count, lets a rule apply for ever.
const Always = -1

// Sets of operations for Rule.Ops.
var (
	Reads   = bdev.Ops(bdev.OpRead)
	Writes  = bdev.Ops(bdev.OpWrite)
	Flushes = bdev.Ops(bdev.OpFlush)
	// Changes are all operations after which the media may differ, and flushes: those that a power cut counts.
	Changes = bdev.Ops(bdev.OpWrite, bdev.OpFlush, bdev.OpUnmap, bdev.OpWriteZeroes, bdev.OpCopy)
)

// Rule chooses operations and says what happens to them. The zero value fails nothing: it passes the next operation.
type Rule struct {
	Ops bdev.OpSet // 0 for every operation
	// Offset and Length are a byte range that the operation must touch. Length 0 is everything from Offset on; a
	// flush touches every range.
	Offset, Length int64
	Match          func(*bdev.Request) bool // a further condition; nil for none. It must not block or keep the request
	Skip           int                      // so many matching operations pass first
	Count          int                      // to so many the fault then happens; 0 for one, Always for all
	Fault          Fault
}

// matches reports whether the rule chooses a request.
func (r *Rule) matches(q *bdev.Request) bool {
	if r.Ops != 0 && !r.Ops.Has(q.Op) {
		return false
	}
	if from, to := r.common(q); q.Op != bdev.OpFlush && from >= to {
		return false
	}
	return r.Match == nil || r.Match(q)
}

// common is the part of the rule's range that a request touches.
func (r *Rule) common(q *bdev.Request) (from, to int64) {
	end := int64(math.MaxInt64)
	if r.Length > 0 && r.Length < end-r.Offset {
		end = r.Offset + r.Length
	}
	return max(r.Offset, q.Offset), min(end, q.Offset+max(q.Length, int64(len(q.Buf))))
}

// flip corrupts the first byte of a request's buffer that lies in the rule's range.
func (r *Rule) flip(q *bdev.Request) {
	from, _ := r.common(q)
	if i := from - q.Offset; i >= 0 && i < int64(len(q.Buf)) {
		q.Buf[i] ^= 1
	}
}

// Injection is a rule at work.
type Injection struct {
	rule    Rule
	backend *Backend
	hits    atomic.Int64

	// Guarded by Backend.mu.
	skip, left int
}

// Hits is the number of operations that the fault has happened to.
func (i *Injection) Hits() int64 { return i.hits.Load() }

// Remove ends the rule.
func (i *Injection) Remove() { i.backend.remove(i) }

// take reports whether the fault happens to a request that matches, counting it. The caller holds Backend.mu.
func (i *Injection) take() bool {
	if i.skip > 0 {
		i.skip--
		return false
	}
	if i.left > 0 {
		i.left--
	}
	i.hits.Add(1)
	return true
}

// usedUp reports whether the rule has done all it was to do.
func (i *Injection) usedUp() bool { return i.left == 0 }
