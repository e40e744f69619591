package blobstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

// metadata is everything a store's metadata pages say, checked blob by blob. It is made by loadMetadata and shares
// nothing with the device.
type metadata struct {
	super        superblock
	blobs        blobTable[blobState] // decoded ones, also those that are refused
	bad          []badBlob            // blobs that cannot be decoded, by id
	usedPages    bitmap               // metadata pages in use, rebuilt from the blobs; md region, in pages
	usedClusters bitmap               // clusters in use, rebuilt from the blobs; whole store, in clusters
	findings     []Finding            // what a check reports besides bad blobs
	scanned      bool                 // the whole metadata region (below highWater) was read
	unread       error                // of a page that the device could not read, nil if it could read all
	masks        *masks               // on the device, nil if they mean nothing
}

// incomplete reports whether a blob may own pages and clusters that its readable pages do not name.
func (m *metadata) incomplete() bool {
	if len(m.bad) > 0 {
		return true
	}
	for _, s := range m.blobs.all() {
		if s.foreign() {
			return true
		}
	}
	return false
}

// badBlob is a root page, or what was one, whose blob cannot be read.
type badBlob struct {
	id  BlobID
	err error // an ErrCorrupt or the device's error
}

// loadOptions say what is known about the metadata region.
type loadOptions struct {
	// highWater, if not 0, is the first metadata page that is known to be unused together with all that follow; every
	// page below is valid or zero. Exactly these are read.
	highWater pageIndex
	// overlay holds page images that replace what the device has.
	overlay map[pageIndex][]byte
	// masks is set when the masks on the device claim to be valid (clean superblock): they are compared with the blobs,
	// and without a highWater only the pages they name are read as long as they agree.
	masks bool
	// full reads every page, also where the masks would allow less.
	full     bool
	progress func(done, total int64) // in metadata pages; may be nil
}

// readSuper reads and checks the superblock. legal are the states between which it may be torn. Its errors are
// ErrNotBlobstore, ErrNewerVersion, ErrUnsupported, ErrTruncated, ErrCorrupt and the device's.
func readSuper(dev mdDevice, legal []superState) (superblock, error) {
	var s superblock
	if dev.Size() < superSize {
		return s, fmt.Errorf("%s: %w: device of %d bytes", dev.Name(), ErrNotBlobstore, dev.Size())
	}
	b := make([]byte, superSize)
	if err := readRetry(dev, b, 0); err != nil {
		return s, fmt.Errorf("%s: reading the superblock at offset 0: %w", dev.Name(), err)
	}
	if err := s.unmarshalTorn(b, legal); err != nil {
		return s, placeSuper(err, dev)
	}
	s.normalise(dev.Size())
	if err := s.validate(dev.Size()); err != nil {
		return s, placeSuper(err, dev)
	}
	return s, nil
}

// placeSuper names the device in an error about the superblock.
func placeSuper(err error, dev mdDevice) error {
	var c *CorruptError
	if errors.As(err, &c) {
		return at(err, dev.Name(), 0, "")
	}
	return fmt.Errorf("%s: superblock at offset 0: %w", dev.Name(), err)
}

// loadMetadata reads and decodes the metadata of a store whose superblock is valid. A blob that is damaged or not
// supported is isolated, never a reason to fail: only a device that cannot be read at all is an error.
func loadMetadata(dev mdDevice, super *superblock, o loadOptions) (*metadata, error) {
	var disk *masks
	var maskErr error
	if o.masks && super.blobIDMask.length > 0 { // version 1 has no mask of blob ids, and SPDK scans too
		disk, maskErr = readMasks(dev, super)
	}
	if disk != nil && o.highWater == 0 && !o.full {
		if m := loadByMasks(dev, super, disk, o); m != nil {
			return m, nil
		}
	}
	m, err := loadByScan(dev, super, disk, o)
	if err != nil {
		return nil, err
	}
	if maskErr != nil {
		m.findings = append(m.findings, Finding{Severity: SeverityWarning, Err: maskErr})
	}
	return m, nil
}

// loadByMasks loads a cleanly closed store by reading only what its masks name. The result is nil if masks and blobs
// disagree in the slightest: then the caller scans.
func loadByMasks(dev mdDevice, super *superblock, disk *masks, o loadOptions) *metadata {
	l := newLoader(dev, super, disk, o)
	want := disk.pages.clone()
	disk.blobIDs.ranges(want.setRange)
	l.table.load(&want, o.progress)
	m := l.run()
	if len(m.bad) > 0 || !disk.matches(m) {
		return nil
	}
	m.masks = disk
	return m
}

// loadByScan loads a store by reading its whole metadata region up to the high-water mark.
func loadByScan(dev mdDevice, super *superblock, disk *masks, o loadOptions) (*metadata, error) {
	limit := super.mdPages()
	if o.highWater != 0 {
		limit = min(limit, int(o.highWater))
	}
	want := newBitmap(super.mdPages())
	want.setRange(0, limit)
	l := newLoader(dev, super, disk, o)
	l.table.load(&want, o.progress)
	if len(l.table.failed) == limit {
		return nil, fmt.Errorf("%s: metadata region at offset %d: %w", dev.Name(), super.md.offset(), l.table.anyFailure())
	}
	m := l.run()
	m.scanned, m.masks, m.unread = true, disk, l.table.anyFailure()
	if disk != nil {
		l.compareMasks()
	}
	if m.incomplete() {
		l.keepMasked(limit)
	}
	return m, nil
}

// masks are the three masks of a store.
type masks struct{ pages, clusters, blobIDs bitmap }

// readMasks reads the masks from the device.
func readMasks(dev mdDevice, super *superblock) (*masks, error) {
	m := &masks{}
	for _, r := range []struct {
		kind maskKind
		at   region
		bits int
		into *bitmap
	}{
		{maskPages, super.pageMask, super.mdPages(), &m.pages},
		{maskClusters, super.clusterMask, super.clusters(), &m.clusters},
		{maskBlobIDs, super.blobIDMask, super.mdPages(), &m.blobIDs},
	} {
		b := make([]byte, r.at.bytes())
		err := readRetry(dev, b, r.at.offset())
		if err == nil {
			*r.into, err = unmarshalMask(b, r.kind, r.bits)
		}
		if err != nil {
			return nil, at(err, dev.Name(), r.at.offset(), "")
		}
	}
	return m, nil
}

// masksOf are the masks that describe m, as a clean close writes them.
func masksOf(m *metadata) *masks {
	return &masks{pages: m.usedPages.clone(), clusters: m.usedClusters.clone(), blobIDs: m.usedBlobIDs()}
}

// matches reports whether the masks are those of m.
func (k *masks) matches(m *metadata) bool {
	ids := m.usedBlobIDs()
	return k.pages.equal(&m.usedPages) && k.clusters.equal(&m.usedClusters) && k.blobIDs.equal(&ids)
}

// knows reports whether there are masks and they name the blob.
func (k *masks) knows(id BlobID) bool { return k != nil && k.blobIDs.test(int(id.page())) }

// usedBlobIDs is the set of root pages, those of bad blobs included.
func (m *metadata) usedBlobIDs() bitmap {
	ids := newBitmap(m.super.mdPages())
	for id := range m.blobs.all() {
		ids.set(int(id.page()))
	}
	for _, b := range m.bad {
		ids.set(int(b.id.page()))
	}
	return ids
}

// loader decodes the blobs of a page table.
type loader struct {
	table *pageTable
	m     *metadata
	mem   *blobMemory // of blobs that were not decoded early
	disk  *masks      // the masks on the device, where they claim to be valid
	// exact is set when every page below the limit is known to be valid or zero, so that any other is damage.
	exact bool
}

func newLoader(dev mdDevice, super *superblock, disk *masks, o loadOptions) *loader {
	l := &loader{
		table: newPageTable(dev, super, o.overlay), disk: disk, exact: o.highWater != 0, mem: newBlobMemory(),
		m: &metadata{
			super:     *super,
			usedPages: newBitmap(super.mdPages()), usedClusters: newBitmap(super.clusters()),
		},
	}
	l.table.decode, l.table.take = l.decodeEarly, func(s *blobState) { l.m.blobs.put(s.id, s) }
	return l
}

// decodeEarly decodes a page that is a sound blob by itself, so that it need not be kept. Whatever is not that simple is
// left to run. Readers call it, several at once.
func (l *loader) decodeEarly(p pageIndex, b []byte, mem *blobMemory) *blobState {
	if !isSinglePageBlob(b, p) {
		return nil
	}
	s, err := decodeBlob(onePage{b}, p, mem)
	if err != nil || l.outsideExtent(s) != nil {
		return nil
	}
	return s
}

// onePage is the page of a blob that has no other.
type onePage struct{ b []byte }

var errOnePage = errors.New("a blob of more than one page")

func (o onePage) page(p pageIndex) ([]byte, error) {
	if p != pageIndex(binary.LittleEndian.Uint64(o.b)) {
		return nil, errOnePage
	}
	return o.b, nil
}

func (o onePage) place(err error, _ pageIndex) error { return err }

// run decodes every blob among the pages that are loaded, isolates what is wrong and rebuilds the masks.
func (l *loader) run() *metadata {
	l.m.usedClusters.setRange(0, min(l.m.super.mdClusters(), l.m.super.clusters()))
	var roots []pageIndex // of blobs that were not decoded early
	l.table.each(func(p pageIndex, b []byte) {
		if b != nil && isBlobRoot(b, p) {
			roots = append(roots, p)
		}
	})
	for _, p := range roots {
		l.decode(p)
	}
	l.claimAll()
	l.damagedPages()
	l.missingBlobs()
	l.salvageBad()
	sort.Slice(l.m.bad, func(i, j int) bool { return l.m.bad[i].id < l.m.bad[j].id })
	return l.m
}

// decode reads one blob and checks what the store's size decides.
func (l *loader) decode(root pageIndex) {
	s, err := decodeBlob(l.table, root, l.mem)
	if err == nil {
		err = l.checkExtents(s, root)
	}
	if err != nil {
		l.m.bad = append(l.m.bad, badBlob{blobIDOf(root), err})
		return
	}
	l.m.blobs.put(s.id, s)
}

// checkExtents verifies that a blob's clusters are on the device and not those of the metadata.
func (l *loader) checkExtents(s *blobState, root pageIndex) error {
	e := l.outsideExtent(s)
	if e == nil {
		return nil
	}
	want := fmt.Sprintf("clusters %d to %d", l.m.super.mdClusters(), l.m.super.clusters()-1)
	return l.table.place(corruptf(pageHeaderSize, "extent", want, e.String()), root)
}

// outsideExtent is the first run of a blob that is not in the data area, nil if all are.
func (l *loader) outsideExtent(s *blobState) *extent {
	first, end := uint64(l.m.super.mdClusters()), uint64(l.m.super.clusters())
	for i := range s.extents {
		e := &s.extents[i]
		if e.allocated() && (uint64(e.start) < first || uint64(e.start)+uint64(e.count) > end) {
			return e
		}
	}
	return nil
}

func (e extent) String() string {
	if e.count == 1 {
		return fmt.Sprintf("cluster %d", e.start)
	}
	return fmt.Sprintf("clusters %d to %d", e.start, uint64(e.start)+uint64(e.count)-1)
}
