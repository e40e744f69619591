package blobfs

import (
	"io"
	"sync"

	"github.com/blobkv/blobkv/blobstore"
)

const (
	raSlots     = 8         // buffers of one handle
	raBuffer    = 256 << 10 // bytes of a full buffer
	raFirst     = 64 << 10  // bytes of the first one behind a jump
	raLeast     = 32 << 10  // bytes of the smallest one, however many handles share the memory
	raWindow    = 512 << 10 // how far the reads of a sequential handle run ahead, in bytes
	raSeqReads  = 2         // consecutive Reads that make a handle sequential
	maxPrefetch = 1 << 20   // most of one Prefetch that is honoured, in bytes
)

// readAhead is the read-ahead of one handle: buffers that are filled, or being filled, before they are asked for. It is
// not used while the file has a writer, and a buffer older than the newest change of content is thrown away.
type readAhead struct {
	d *fileData

	mu         sync.Mutex
	sequential bool
	next       int64 // where the last read ended
	end        int64 // where the newest buffer of the present run ends
	size       int64 // of the next buffer, in bytes
	window     int64 // how far ahead to be, in bytes: little behind a jump
	slots      []*raSlot
	closed     bool
}

// raSlot is one buffer. Fields but io are guarded by readAhead.mu.
type raSlot struct {
	io      blobstore.IO
	buf     []byte
	off     int64  // in the file; a multiple of the block
	version uint64 // of the content
	refs    int    // readers that wait for it or copy from it
	gone    bool   // out of the list: the last reference gives the buffer back
}

func (s *raSlot) end() int64 { return s.off + int64(len(s.buf)) }

func newReadAhead(d *fileData) *readAhead { return &readAhead{d: d, size: raFirst, window: raFirst} }

// readAt reads like fileData.readAt, from the buffers where they have the bytes.
func (r *readAhead) readAt(p []byte, off int64) (int, error) {
	r.advance(off, int64(len(p)))
	done := 0
	for done < len(p) {
		n, ok := r.take(p[done:], off+int64(done))
		if !ok {
			break
		}
		done += n
	}
	if done == len(p) {
		return done, nil
	}
	n, err := r.d.readAt(p[done:], off+int64(done))
	if done > 0 && n == 0 && err != io.EOF {
		return 0, err
	}
	return done + n, err
}

// take copies bytes from the buffer that holds off and reports whether there was a good one.
func (r *readAhead) take(p []byte, off int64) (int, bool) {
	s := r.pin(off)
	if s == nil {
		return 0, false
	}
	err := s.io.Wait()
	n := 0
	size := r.d.n.size.Load()
	if end := min(s.end(), size); err == nil && off < end {
		n = copy(p, s.buf[off-s.off:end-s.off])
	}
	fresh := s.version == r.d.version.Load()
	r.unpin(s, !fresh || err != nil || off+int64(n) >= min(s.end(), size))
	return n, fresh && err == nil && n > 0 // a failed read-ahead is no error: the read itself will tell
}

func (r *readAhead) pin(off int64) *raSlot {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots {
		if s.off <= off && off < s.end() {
			s.refs++
			return s
		}
	}
	return nil
}

// unpin undoes pin; a used-up buffer leaves the list.
func (r *readAhead) unpin(s *raSlot, used bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.refs--
	if used {
		r.remove(s)
	}
	if s.gone && s.refs == 0 {
		r.free(s)
	}
}

// remove takes a buffer out of the list. The caller holds mu and frees it if nobody refers to it.
func (r *readAhead) remove(s *raSlot) {
	for i, o := range r.slots {
		if o == s {
			r.slots = append(r.slots[:i], r.slots[i+1:]...)
			s.gone = true
			if len(r.slots) == 0 {
				r.d.fs.readHolders.remove(r)
			}
			return
		}
	}
}

// free gives a buffer's memory back. It is out of the list and nobody refers to it.
func (r *readAhead) free(s *raSlot) {
	_ = s.io.Wait() // the device may still be writing into it
	r.d.fs.readMem.Put(s.buf)
	s.buf = nil
}

// advance follows a read of n bytes at off and, on a sequential handle, starts what the next ones will want.
func (r *readAhead) advance(off, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.sequential {
		return
	}
	if off != r.next && (off < r.next-raBuffer || off > r.end) {
		r.restart(off)
	} else {
		r.window = min(2*r.window, raWindow)
	}
	r.next = off + n
	r.end = max(r.end, roundDown(off, r.d.fs.block))
	share := r.share()
	for r.end < r.next+min(r.window, share) && r.start(r.end, min(r.size, share)) {
		r.size = min(2*r.size, raBuffer)
	}
}

// share is how much this handle may have filled ahead, in bytes: half of its part of the memory, as a buffer of up to that
// size is being read from besides. Handles that took more would have what others are about to read thrown away, or leave
// them to read block by block.
func (r *readAhead) share() int64 {
	fs := r.d.fs
	half := fs.readMem.Limit() / (2 * max(1, fs.sequential.Load()))
	return max(roundUp(raLeast, fs.block), roundDown(half, fs.block))
}

// restart begins a new run of read-ahead behind a jump. The caller holds mu.
func (r *readAhead) restart(off int64) {
	r.dropIdle()
	r.end = roundDown(off, r.d.fs.block)
	r.size, r.window = raFirst, raFirst
}

// dropIdle throws away the buffers that nobody refers to. The caller holds mu.
func (r *readAhead) dropIdle() {
	for i := len(r.slots) - 1; i >= 0; i-- {
		if s := r.slots[i]; s.refs == 0 {
			r.remove(s)
			r.free(s)
		}
	}
}

// start begins to fill a buffer of at most n bytes at off, a multiple of the block, and reports whether it did. The
// caller holds mu.
func (r *readAhead) start(off, n int64) bool {
	d := r.d
	// What is buffered for writing is not on the device yet; the version is read first, so that a write which comes in
	// between makes the buffer stale.
	version := d.version.Load()
	if r.closed || d.buffered.Load() != 0 || !r.room() {
		return false
	}
	size := roundUp(d.n.size.Load(), d.fs.block)
	n = min(n, size-off)
	if n <= 0 {
		return false
	}
	buf, ok := r.getBuffer(int(n))
	if !ok {
		return false
	}
	s := &raSlot{buf: buf, off: off, version: version}
	if r.slots = append(r.slots, s); len(r.slots) == 1 {
		d.fs.readHolders.add(r)
	}
	r.end = s.end()
	d.fs.stats.readAhead.Add(n)
	d.blob.StartRead(&s.io, buf, off)
	return true
}

// getBuffer returns read-ahead memory. When there is none left, another handle's buffer that nobody came for is taken.
// The caller holds mu.
func (r *readAhead) getBuffer(n int) ([]byte, bool) {
	fs := r.d.fs
	buf, ok := fs.readMem.TryGet(n)
	if ok {
		return buf, true
	}
	for _, other := range fs.readHolders.others(r) {
		for other.giveUp() {
			if buf, ok = fs.readMem.TryGet(n); ok {
				return buf, true
			}
		}
	}
	return nil, false
}

// giveUp frees the oldest buffer that is filled and idle and reports whether there was one. It only tries the lock: two
// handles may want each other's.
func (r *readAhead) giveUp() bool {
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	for _, s := range r.slots {
		if s.refs == 0 && s.io.Done() {
			r.remove(s)
			r.free(s)
			return true
		}
	}
	return false
}

// room makes sure that there is a free slot: a buffer that has been passed by is given up. The caller holds mu.
func (r *readAhead) room() bool {
	if len(r.slots) < raSlots {
		return true
	}
	for _, s := range r.slots {
		if s.refs == 0 && (s.end() <= r.next || !r.sequential) {
			r.remove(s)
			r.free(s)
			return true
		}
	}
	return false
}

// prefetch begins to fill buffers for bytes [off, off+n) where there are none.
func (r *readAhead) prefetch(off, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := off + min(n, maxPrefetch)
	for at := roundDown(off, r.d.fs.block); at < end; {
		if s := r.at(at); s != nil {
			at = s.end()
			continue
		}
		size := min(raBuffer, roundUp(end, r.d.fs.block)-at)
		if !r.start(at, size) {
			return
		}
		at += size
	}
}

// at returns the buffer that holds off. The caller holds mu.
func (r *readAhead) at(off int64) *raSlot {
	for _, s := range r.slots {
		if s.off <= off && off < s.end() {
			return s
		}
	}
	return nil
}

// setSequential turns read-ahead on.
func (r *readAhead) setSequential() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.sequential && !r.closed {
		r.d.fs.sequential.Add(1)
		r.sequential = true
	}
}

// close waits for what is in flight and gives the memory back. No read is running.
func (r *readAhead) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sequential && !r.closed {
		r.d.fs.sequential.Add(-1)
	}
	r.closed = true
	r.dropIdle()
}
