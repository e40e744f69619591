package crashbdev

import "slices"

// entry is a write, unmap or write zeroes that no flush has covered.
type entry struct {
	seq   uint64 // order of submission
	stamp uint64 // order of completion; 0 while in flight
	off   int64  // bytes
	n     int64  // bytes
	data  []byte // nil for zeros
	// superseded marks the blocks of the range that a later write has made durable: this one can no longer land
	// there. nil for none.
	superseded []bool
}

func (e *entry) end() int64 { return e.off + e.n }

func (e *entry) overlaps(o *entry) bool { return e.off < o.end() && o.off < e.end() }

// grain is the granularity at which entries land: tears happen at multiples of unit, supersession at blocks.
type grain struct{ block, unit int64 }

// land writes the units of an entry that keep accepts into an image. A nil keep accepts all.
func (g grain) land(m *Image, e *entry, keep func(unit int64) bool) {
	if keep == nil && e.superseded == nil {
		e.store(m, e.off, e.n)
		return
	}
	step := min(g.block, g.unit)
	for off := e.off; off < e.end(); off += step {
		if e.superseded != nil && e.superseded[(off-e.off)/g.block] {
			continue
		}
		if keep == nil || keep(off/g.unit-e.off/g.unit) {
			e.store(m, off, step)
		}
	}
}

// units is the number of atomic units that the range of an entry touches.
func (g grain) units(e *entry) int64 { return (e.end()-1)/g.unit - e.off/g.unit + 1 }

// store writes part of an entry into an image.
func (e *entry) store(m *Image, off, n int64) {
	if e.data == nil {
		m.zero(off, n)
		return
	}
	m.write(e.data[off-e.off:][:n], off)
}

// supersede keeps e from landing where the later entry has become durable.
func (g grain) supersede(e, later *entry) {
	if e.seq >= later.seq || !e.overlaps(later) {
		return
	}
	if e.superseded == nil {
		e.superseded = make([]bool, e.n/g.block)
	}
	for off := max(e.off, later.off); off < min(e.end(), later.end()); off += g.block {
		e.superseded[(off-e.off)/g.block] = true
	}
}

// cache holds the entries of a disk, in order of submission.
type cache struct {
	grain
	entries  []*entry
	inFlight []*entry
	seq      uint64
	stamp    uint64
}

// add takes a submitted entry and reports whether another one in flight overlaps it.
func (c *cache) add(e *entry) (overlapping bool) {
	c.seq++
	e.seq = c.seq
	overlapping = slices.ContainsFunc(c.inFlight, e.overlaps)
	c.entries = append(c.entries, e)
	c.inFlight = append(c.inFlight, e)
	return overlapping
}

// clip drops what lies beyond the end of a disk that shrinks.
func (c *cache) clip(size int64) {
	for _, e := range c.entries {
		if e.end() <= size {
			continue
		}
		e.n = max(size-e.off, 0)
		if e.data != nil {
			e.data = e.data[:e.n]
		}
	}
	c.entries = slices.DeleteFunc(c.entries, func(e *entry) bool { return e.n == 0 })
}

// complete notes that the write of an entry has completed, so that flushes submitted from now on cover it.
func (c *cache) complete(e *entry) {
	c.stamp++
	e.stamp = c.stamp
	c.inFlight = slices.DeleteFunc(c.inFlight, func(o *entry) bool { return o == e })
}

// covered reports whether a flush submitted when the stamp was read covers the entry.
func (e *entry) covered(stamp uint64) bool { return e.stamp != 0 && e.stamp <= stamp }

// flush makes the entries durable that had completed when the stamp was read.
func (c *cache) flush(durable *Image, stamp uint64) {
	c.commit(durable, func(e *entry) bool { return e.covered(stamp) })
}

// commit makes the chosen entries durable, in order of submission.
func (c *cache) commit(durable *Image, chosen func(*entry) bool) {
	landed := c.extract(chosen)
	for _, e := range landed {
		c.land(durable, e, nil)
	}
	c.supersedeBy(landed)
}

// extract removes the chosen entries and returns them.
func (c *cache) extract(chosen func(*entry) bool) (taken []*entry) {
	var kept []*entry
	for _, e := range c.entries {
		if chosen(e) {
			taken = append(taken, e)
		} else {
			kept = append(kept, e)
		}
	}
	c.entries = kept
	return taken
}

// supersedeBy keeps what is left from landing on later entries that are settled.
func (c *cache) supersedeBy(settled []*entry) {
	for _, e := range c.entries {
		for _, s := range settled {
			c.supersede(e, s)
		}
	}
}
