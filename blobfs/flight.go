package blobfs

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/blobkv/blobkv/blobstore"
)

// flight is one write of a run of a chunk's blocks on its way to the device.
type flight struct {
	io   blobstore.IO
	c    *chunk
	mask blockMask
	refs atomic.Int32 // the file's list, and a sync that waits outside wmu
}

var flightPool = sync.Pool{New: func() any { return new(flight) }}

// unref gives a flight back to the pool with the last reference. The write has completed.
func (f *flight) unref() {
	if f.refs.Add(-1) == 0 {
		f.c = nil
		flightPool.Put(f)
	}
}

// startWrites starts the writes of a chunk's dirty blocks within mask; attended ones are waited for at once. The caller
// holds wmu.
func (d *fileData) startWrites(c *chunk, mask blockMask, attended bool) {
	for todo := c.dirty & mask; todo != 0; {
		first, n := todo.run()
		run := span(first, n)
		todo &^= run
		d.startRun(c, first, n, run, attended)
	}
}

func (d *fileData) startRun(c *chunk, first, n int, run blockMask, attended bool) {
	block := d.fs.block
	lo, hi := int64(first)*block, int64(first+n)*block
	d.ahead.settleOverlap(c.off+lo, c.off+hi)
	f := flightPool.Get().(*flight)
	f.c, f.mask, f.io.Attended = c, run, attended
	f.refs.Store(1)
	c.dirty &^= run
	c.flying |= run
	d.started++
	d.flights = append(d.flights, f)
	d.fs.stats.written.Add(hi - lo)
	d.blob.StartWrite(&f.io, c.buf[lo:hi], c.off+lo)
}

// startAll starts the writes of every dirty block for a caller that waits for them at once and holds wmu.
func (d *fileData) startAll() {
	for _, c := range d.chunks {
		d.startWrites(c, c.dirty, true)
	}
}

// settle waits for a flight, which has left the list. Blocks whose write failed are dirty again: the next write that
// needs their memory or the next sync tries again and reports what it gets. A chunk that has nothing left to write and
// is behind the writer is dropped. The caller holds wmu.
func (d *fileData) settle(f *flight) error {
	err := f.io.Wait()
	c := f.c
	c.flying &^= f.mask
	if err != nil {
		c.dirty |= f.mask
	}
	f.unref()
	if c.dirty|c.flying == 0 && c != d.current {
		d.drop(c)
	}
	return err
}

// popFlight takes the oldest flight off the list. The caller holds wmu.
func (d *fileData) popFlight() *flight {
	f := d.flights[0]
	d.flights = slices.Delete(d.flights, 0, 1)
	return f
}

// settleOldest waits for the oldest flight. The caller holds wmu.
func (d *fileData) settleOldest() {
	_ = d.settle(d.popFlight()) // its blocks are dirty again; who needs them written gets the error
}

// settleAll waits for all flights. The caller holds wmu.
func (d *fileData) settleAll() {
	for len(d.flights) > 0 {
		d.settleOldest()
	}
}

// settleDone collects the flights that have completed already. The caller holds wmu.
func (d *fileData) settleDone() {
	for len(d.flights) > 0 && d.flights[0].io.Done() {
		d.settleOldest()
	}
}

// settleChunk waits until nothing of a chunk within mask is in flight and returns the first error. c is in the list
// before and, unless it is current, may not be after. The caller holds wmu.
func (d *fileData) settleChunk(c *chunk, mask blockMask) error {
	var first error
	for i := 0; i < len(d.flights) && c.flying&mask != 0; {
		f := d.flights[i]
		if f.c != c || f.mask&mask == 0 {
			i++
			continue
		}
		d.flights = slices.Delete(d.flights, i, i+1)
		if err := d.settle(f); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// writeOutAll brings every dirty block to the device, all at once, and returns the first error. The caller holds wmu.
func (d *fileData) writeOutAll() error {
	d.startAll()
	d.ahead.settle()
	var first error
	for len(d.flights) > 0 {
		if err := d.settle(d.popFlight()); err != nil && first == nil {
			first = err
		}
	}
	return first
}
