package blobstore

import (
	"bytes"
	"fmt"
	"sync"
)

// mdDevice is what reading metadata needs of a device.
type mdDevice interface {
	Name() string
	Size() int64
	Read(p []byte, off int64) error
}

const (
	// scanChunkPages is how many pages one read of a metadata scan covers: 1 MiB.
	scanChunkPages = 256
	// scanDepth is how many such reads are under way at once.
	scanDepth = 8
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
	loaded  bitmap               // pages that were read; those in no map are zero
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
		err := t.dev.Read(b, t.super.pageOffset(p))
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
	first pageIndex
	data  []byte
	err   error
}

// load reads the pages of want in large reads, several at a time, and reports progress in pages.
func (t *pageTable) load(want *bitmap, progress func(done, total int64)) {
	chunks := planChunks(want)
	total := int64(0)
	for _, c := range chunks {
		total += int64(c.count)
	}
	jobs, results := make(chan extent), make(chan chunk, scanDepth)
	var workers sync.WaitGroup
	for range min(scanDepth, len(chunks)) {
		workers.Go(func() { t.readChunks(jobs, results) })
	}
	go func() {
		for _, c := range chunks {
			jobs <- c
		}
		close(jobs)
		workers.Wait()
		close(results)
	}()
	done := int64(0)
	for c := range results {
		t.storeChunk(c)
		done += int64(len(c.data) / pageSize)
		if progress != nil {
			progress(done, total)
		}
	}
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

func (t *pageTable) readChunks(jobs <-chan extent, results chan<- chunk) {
	for j := range jobs {
		c := chunk{first: pageIndex(j.start), data: make([]byte, int(j.count)*pageSize)}
		c.err = t.dev.Read(c.data, t.super.pageOffset(c.first))
		results <- c
	}
}

// storeChunk keeps the pages of a read. If the read failed, its pages stay unread: each is tried by itself when it is
// asked for, so that one bad sector costs one page.
func (t *pageTable) storeChunk(c chunk) {
	if c.err != nil {
		for i := range len(c.data) / pageSize {
			p := c.first + pageIndex(i)
			b := make([]byte, pageSize)
			t.store(p, b, t.dev.Read(b, t.super.pageOffset(p)))
		}
		return
	}
	for i := range len(c.data) / pageSize {
		b := c.data[i*pageSize : (i+1)*pageSize]
		if !isZeroPage(b) {
			b = bytes.Clone(b) // the chunk must not stay in memory for one page
		}
		t.store(c.first+pageIndex(i), b, nil)
	}
}

// each calls f for every page that was loaded or is overlaid and is not zero, ascending. b is nil where reading failed.
func (t *pageTable) each(f func(p pageIndex, b []byte)) {
	known := t.loaded.clone()
	for p := range t.overlay {
		known.set(int(p))
	}
	known.ranges(func(first, count int) {
		for p := pageIndex(first); p < pageIndex(first+count); p++ {
			b, err := t.page(p)
			if err != nil {
				f(p, nil)
			} else if !isZeroPage(b) {
				f(p, b)
			}
		}
	})
}

func isZeroPage(b []byte) bool { return bytes.Equal(b, zeroPage) }

// anyFailure is one of the errors of pages that could not be read.
func (t *pageTable) anyFailure() error {
	for _, err := range t.failed {
		return err
	}
	return nil
}
