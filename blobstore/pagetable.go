package blobstore

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// mdDevice is what reading metadata needs of a device.
type mdDevice interface {
	Name() string
	Size() int64
	Read(p []byte, off int64) error
}

const (
	// scanChunkPages is how many pages one read of a metadata scan covers: 512 KiB.
	scanChunkPages = 128
	// scanDepth is how many such reads are under way at once, or decoded: while the processors decode, the device has
	// the other readers' to work on.
	scanDepth = 16
	// scanGapPages is how long a run of unused pages must be before a read stops in front of it.
	scanGapPages = 16
)

// pageTable is a pageSource over a device: pages are read in bulk by load, or one by one when asked for. An overlay
// (the images of a checkpoint that is in the journal but not yet in place) hides what the device has. Not for concurrent use.
type pageTable struct {
	dev     mdDevice
	super   *superblock
	overlay map[pageIndex][]byte
	pages   map[pageIndex][]byte // what was read and is not all zero
	failed  map[pageIndex]error  // what could not be read
	loaded  bitmap               // pages that were read; those in no map are zero or decoded

	// decode, if set, is offered each page that load reads, by whoever reads it, several at once. What it makes of a page
	// is given to take, and the page is not kept. b is valid during the call only.
	decode func(p pageIndex, b []byte, mem *blobMemory) *blobState
	take   func(s *blobState) // called by load, in no order
}

var zeroPage = make([]byte, pageSize)

func newPageTable(dev mdDevice, super *superblock, overlay map[pageIndex][]byte) *pageTable {
	return &pageTable{
		dev: dev, super: super, overlay: overlay,
		pages:  make(map[pageIndex][]byte),
		failed: make(map[pageIndex]error),
		loaded: newBitmap(super.mdPages()),
	}
}

// page returns a page from the overlay, from memory or from the device.
func (t *pageTable) page(p pageIndex) ([]byte, error) {
	if uint64(p) >= uint64(t.super.md.length) {
		return nil, corruptAt(t.dev, t.super.md.offset(), "metadata page number", fmt.Sprintf("below %d", t.super.md.length), fmt.Sprint(p))
	}
	if b, ok := t.overlay[p]; ok {
		return b, nil
	}
	if !t.loaded.test(int(p)) {
		b := make([]byte, pageSize)
		err := readRetry(t.dev, b, t.super.pageOffset(p))
		t.store(p, b, err)
	}
	if err := t.failed[p]; err != nil {
		return nil, fmt.Errorf("metadata page %d: %w", p, err)
	}
	if b, ok := t.pages[p]; ok {
		return b, nil
	}
	return zeroPage, nil
}

// place puts an error found in page p onto the device.
func (t *pageTable) place(err error, p pageIndex) error {
	return at(err, t.dev.Name(), t.super.pageOffset(p), fmt.Sprintf("metadata page %d", p))
}

func corruptAt(dev mdDevice, off int64, what, expected, got string) error {
	return &CorruptError{Device: dev.Name(), Offset: off, What: what, Expected: expected, Got: got}
}

// store keeps the outcome of reading page p, and b with it.
func (t *pageTable) store(p pageIndex, b []byte, err error) {
	t.loaded.set(int(p))
	switch {
	case err != nil:
		t.failed[p] = err
	case !isZeroPage(b):
		t.pages[p] = b
	}
}

// chunk is one read of a scan.
type chunk struct {
	first   pageIndex
	data    []byte
	err     error
	decoded []*blobState // of pages in data, ascending
}

// scan is a load under way: jobs go to the readers, chunks come back, and their buffers go round.
type scan struct {
	jobs    chan extent
	results chan chunk
	free    chan []byte
	readers sync.WaitGroup
}

// load reads the pages of want in large reads, several at a time, and reports progress in pages.
func (t *pageTable) load(want *bitmap, progress func(done, total int64)) {
	plan := planChunks(want)
	total, done := int64(0), int64(0)
	for _, c := range plan {
		total += int64(c.count)
	}
	for c := range t.startScan(plan) {
		t.storeChunk(c)
		done += int64(len(c.data) / pageSize)
		if progress != nil {
			progress(done, total)
		}
	}
}

// startScan yields the chunks of a plan as they are read. A chunk's data is valid until the next one.
func (t *pageTable) startScan(plan []extent) func(yield func(chunk) bool) {
	return func(yield func(chunk) bool) {
		s := &scan{jobs: make(chan extent, len(plan)), results: make(chan chunk), free: make(chan []byte, scanDepth)}
		for _, c := range plan {
			s.jobs <- c
		}
		close(s.jobs)
		for range min(scanDepth, len(plan)) {
			s.free <- nil
			s.readers.Go(func() { t.readChunks(s) })
		}
		go func() {
			s.readers.Wait()
			close(s.results)
		}()
		for c := range s.results {
			yield(c)
			s.free <- c.data
		}
	}
}

func (t *pageTable) readChunks(s *scan) {
	mem := newBlobMemory()
	for j := range s.jobs {
		b := <-s.free
		if b == nil {
			b = make([]byte, scanChunkPages*pageSize)
		}
		c := chunk{first: pageIndex(j.start), data: b[:int(j.count)*pageSize]}
		c.err = t.dev.Read(c.data, t.super.pageOffset(c.first))
		if t.decode != nil && c.err == nil {
			c.decoded = t.decodeChunk(&c, mem)
		}
		s.results <- c
	}
}

func (t *pageTable) decodeChunk(c *chunk, mem *blobMemory) []*blobState {
	var list []*blobState
	for i := range len(c.data) / pageSize {
		p := c.first + pageIndex(i)
		if t.overlay[p] != nil {
			continue
		}
		if s := t.decode(p, c.data[i*pageSize:(i+1)*pageSize], mem); s != nil {
			list = append(list, s)
		}
	}
	return list
}

// planChunks covers the pages of want by runs of at most scanChunkPages that skip long gaps only.
func planChunks(want *bitmap) []extent {
	var plan []extent
	want.ranges(func(first, count int) {
		if n := len(plan); n > 0 {
			last := &plan[n-1]
			end := int(last.start) + int(last.count)
			if first-end < scanGapPages && first+count-int(last.start) <= scanChunkPages {
				last.count = uint32(first + count - int(last.start))
				return
			}
		}
		for ; count > 0; first, count = first+scanChunkPages, count-scanChunkPages {
			plan = append(plan, extent{clusterIndex(first), uint32(min(count, scanChunkPages))})
		}
	})
	return plan
}

// storeChunk keeps the pages of a read. If the read failed, each page is read by itself, so that one bad sector costs one
// page.
func (t *pageTable) storeChunk(c chunk) {
	rest := c.decoded
	for i := range len(c.data) / pageSize {
		p, b := c.first+pageIndex(i), c.data[i*pageSize:(i+1)*pageSize]
		if len(rest) > 0 && rest[0].id.page() == p {
			t.loaded.set(int(p))
			t.take(rest[0])
			rest = rest[1:]
			continue
		}
		err := c.err
		if err != nil {
			err = readRetry(t.dev, b, t.super.pageOffset(p))
		}
		switch {
		case err != nil || isZeroPage(b):
			t.store(p, b, err)
		default:
			t.store(p, bytes.Clone(b), nil)
		}
	}
}

// each calls f for every page that was loaded or is overlaid and is neither zero nor decoded, ascending. b is nil where
// reading failed.
func (t *pageTable) each(f func(p pageIndex, b []byte)) {
	for _, p := range t.known() {
		b, err := t.page(p)
		if err != nil {
			f(p, nil)
		} else if !isZeroPage(b) {
			f(p, b)
		}
	}
}

// known are the pages in the maps, ascending.
func (t *pageTable) known() []pageIndex {
	list := make([]pageIndex, 0, len(t.pages)+len(t.failed)+len(t.overlay))
	list = slices.AppendSeq(list, maps.Keys(t.pages))
	list = slices.AppendSeq(list, maps.Keys(t.failed))
	list = slices.AppendSeq(list, maps.Keys(t.overlay))
	slices.Sort(list)
	return slices.Compact(list)
}

func isZeroPage(b []byte) bool { return bytes.Equal(b, zeroPage) }

// anyFailure is one of the errors of pages that could not be read.
func (t *pageTable) anyFailure() error {
	for _, err := range t.failed {
		return err
	}
	return nil
}
