package blobfs

import (
	"slices"
	"sync"
)

// holders is the set of those that hold buffers of a bounded pool, so that one that needs some can have another's.
type holders[T comparable] struct {
	mu   sync.Mutex
	list []T // longest-held first
}

func (h *holders[T]) add(x T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, x)
}

func (h *holders[T]) remove(x T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.list, x); i >= 0 {
		h.list = slices.Delete(h.list, i, i+1)
	}
}

// others returns a copy of the list without x.
func (h *holders[T]) others(x T) []T {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.list), func(o T) bool { return o == x })
}

// getBuffer returns device memory for a chunk of n bytes, a multiple of the block. When the bound is reached the file
// waits for its own oldest writes, then takes from files that nobody is writing to at the moment. If there is nothing to
// be had it gets one block beyond the bound, from the Go heap: no file ever waits for another one's progress. The caller holds wmu.
func (d *fileData) getBuffer(n int64) (buf []byte, spare bool, err error) {
	for {
		if buf, ok := d.fs.writeMem.TryGet(int(n)); ok {
			return buf, false, nil
		}
		freed, err := d.freeOwn()
		if err != nil {
			return nil, false, err
		}
		if !freed && !d.fs.reclaim(d) {
			return make([]byte, d.fs.block), true, nil
		}
	}
}

// putBuffer undoes getBuffer.
func (fs *FS) putBuffer(buf []byte, spare bool) {
	if !spare {
		fs.writeMem.Put(buf)
	}
}

// evictBatch is how many chunks go to the device at once when memory is short.
const evictBatch = 16

// freeOwn gets on with giving up the file's oldest chunks and reports whether there was anything to do. The caller holds
// wmu and needs none of the chunks.
func (d *fileData) freeOwn() (bool, error) {
	d.setCurrent(nil)
	if len(d.chunks) == 0 {
		return false, nil
	}
	for _, c := range d.chunks[:min(len(d.chunks), evictBatch)] {
		d.startWrites(c, c.dirty, false)
	}
	if len(d.flights) == 0 {
		d.drop(d.chunks[0])
		return true, nil
	}
	return true, d.settle(d.popFlight())
}

// reclaim takes a chunk from some other file and reports whether it found one. It only tries locks: two files that
// reclaim from each other must not wait for each other.
func (fs *FS) reclaim(d *fileData) bool {
	for _, other := range fs.writeHolders.others(d) {
		if other.giveUp() {
			return true
		}
	}
	return false
}

// giveUp frees one of the file's chunks if nobody is writing to it at the moment.
func (d *fileData) giveUp() bool {
	if !d.wmu.TryLock() {
		return false
	}
	defer d.wmu.Unlock()
	if d.doomed {
		return false
	}
	freed, err := d.freeOwn()
	return freed && err == nil // a failed write stays dirty and is reported by the file's own next sync
}
