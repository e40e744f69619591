package bdev

import "sync"

// rangeLocks are exclusive locks on byte ranges, few at a time.
type rangeLocks struct {
	mu   sync.Mutex // guards held
	free sync.Cond  // mu
	held []byteRange
}

type byteRange struct{ start, end int64 }

func (l *rangeLocks) init() { l.free.L = &l.mu }

// lock waits until no locked range overlaps.
func (l *rangeLocks) lock(off, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.overlaps(off, off+n) {
		l.free.Wait()
	}
	l.held = append(l.held, byteRange{off, off + n})
}

// overlaps is called with mu held.
func (l *rangeLocks) overlaps(start, end int64) bool {
	for _, h := range l.held {
		if start < h.end && h.start < end {
			return true
		}
	}
	return false
}

// unlock releases the range that starts at off; there is one.
func (l *rangeLocks) unlock(off int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, h := range l.held {
		if h.start == off {
			l.held[i] = l.held[len(l.held)-1]
			l.held = l.held[:len(l.held)-1]
			break
		}
	}
	l.free.Broadcast()
}
