package dmabuf

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"unsafe"
)

// mapping is one buffer of a pool and the memory of the system that it lies in.
type mapping struct {
	buffer, region []byte
	epoch          uint32
}

// epoch changes when buffers that exist are no longer what pools are to hand out.
var epoch atomic.Uint32

// release gives the memory back to the system, after those who watch have heard of it.
func (m mapping) release() {
	watchers.RLock()
	for _, f := range watchers.list {
		(*f)(m.buffer)
	}
	watchers.RUnlock()
	untrack(m.buffer)
	unmapMemory(m.region)
}

// tracked are the buffers of all pools, by address.
var tracked struct {
	sync.RWMutex
	buffers [][]byte
}

func startOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// after is the index of the first buffer that starts behind an address. It is called with the lock held.
func after(at uintptr) int {
	return sort.Search(len(tracked.buffers), func(i int) bool { return startOf(tracked.buffers[i]) > at })
}

func track(b []byte) {
	tracked.Lock()
	defer tracked.Unlock()
	tracked.buffers = slices.Insert(tracked.buffers, after(startOf(b)), b)
}

func untrack(b []byte) {
	tracked.Lock()
	defer tracked.Unlock()
	i := after(startOf(b)) - 1
	tracked.buffers = slices.Delete(tracked.buffers, i, i+1)
}

// Whole returns the buffer of a pool, at its full capacity, that all of b is part of; nil when there is none. It allocates
// nothing.
func Whole(b []byte) []byte {
	at := startOf(b)
	tracked.RLock()
	defer tracked.RUnlock()
	i := after(at) - 1
	if i < 0 {
		return nil
	}
	whole := tracked.buffers[i]
	if skip := at - startOf(whole); skip < uintptr(len(whole)) && uintptr(len(b)) <= uintptr(len(whole))-skip {
		return whole
	}
	return nil
}

// watchers hear of buffers whose memory is about to go.
var watchers struct {
	sync.RWMutex
	list []*func([]byte)
}

// Watch has f called with every buffer, at its full capacity, right before its memory goes back to the system, until end is
// called; f does not run any more once end has returned. Who has told a device of pool memory takes it back there. f
// must not use a pool.
func Watch(f func(whole []byte)) (end func()) {
	watchers.Lock()
	defer watchers.Unlock()
	watchers.list = append(watchers.list, &f)
	return func() {
		watchers.Lock()
		defer watchers.Unlock()
		watchers.list = slices.DeleteFunc(watchers.list, func(p *func([]byte)) bool { return p == &f })
	}
}
