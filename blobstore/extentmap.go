package blobstore

import (
	"slices"
	"sort"
	"sync/atomic"
)

// extentMap is where a blob's bytes are. It never changes: a blob that grows or shrinks gets a new one, which I/O that
// is under way does not notice.
type extentMap struct {
	runs []mapRun
	size int64     // bytes
	use  *useCount // I/O under way that was mapped by this map or one this grew from
}

// mapRun is a run of bytes that is contiguous in the blob and on the device.
type mapRun struct{ off, dev, len int64 }

// useCount counts the I/O under way on clusters that a blob may give up meanwhile: they stay unallocated until it
// is done.
type useCount struct {
	n       atomic.Int64
	retired atomic.Bool // clusters wait for the count to reach zero
}

// firstMap is the first map of a blob with what it refers to, if the blob has a single run as most have: one allocation.
type firstMap struct {
	extentMap
	run   [1]mapRun
	count useCount
}

// of maps a blob's runs.
func (m *firstMap) of(super *superblock, list []extent) *extentMap {
	m.use = &m.count
	m.runs = m.run[:0]
	m.fill(super, list)
	return &m.extentMap
}

// newExtentMap maps a blob's runs.
func newExtentMap(super *superblock, list []extent, use *useCount) *extentMap {
	m := &extentMap{runs: make([]mapRun, 0, len(list)), use: use}
	m.fill(super, list)
	return m
}

// fill appends runs. All of them are allocated: blobs with others are refused.
func (m *extentMap) fill(super *superblock, list []extent) {
	m.runs = slices.Grow(m.runs, len(list))
	for _, e := range list {
		n := int64(e.count) * int64(super.clusterSize)
		m.runs = append(m.runs, mapRun{off: m.size, dev: super.clusterOffset(e.start), len: n})
		m.size += n
	}
}

// at is the run that holds offset off, which lies within the blob.
func (m *extentMap) at(off int64) *mapRun { return &m.runs[m.index(off)] }

func (m *extentMap) index(off int64) int {
	if len(m.runs) == 1 {
		return 0
	}
	return sort.Search(len(m.runs), func(i int) bool { return m.runs[i].off+m.runs[i].len > off })
}

// each calls f for every contiguous part of [off, off+n), which lies within the blob.
func (m *extentMap) each(off, n int64, f func(dev, length int64) error) error {
	for i := m.index(off); n > 0; i++ {
		r := &m.runs[i]
		k := min(n, r.off+r.len-off)
		if err := f(r.dev+off-r.off, k); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}
