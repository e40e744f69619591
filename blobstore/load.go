package blobstore

import (
	"errors"
	"fmt"
	"sort"
)

// metadata is everything a store's metadata pages say, checked blob by blob. It is made by loadMetadata and shares
// nothing with the device.
type metadata struct {
	super        superblock
	blobs        map[BlobID]*blobState // decoded ones, also those that are refused
	bad          []badBlob             // blobs that cannot be decoded, by id
	usedPages    bitmap                // metadata pages in use, rebuilt from the blobs; md region, in pages
	usedClusters bitmap                // clusters in use, rebuilt from the blobs; whole store, in clusters
	findings     []Finding             // what a check reports besides bad blobs
	scanned      bool                  // the whole metadata region (below highWater) was read
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
	if err := dev.Read(b, 0); err != nil {
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
	m.scanned = true
	if disk != nil {
		l.compareMasks()
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
		err := dev.Read(b, r.at.offset())
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

// usedBlobIDs is the set of root pages, those of bad blobs included.
func (m *metadata) usedBlobIDs() bitmap {
	ids := newBitmap(m.super.mdPages())
	for id := range m.blobs {
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
	disk  *masks // the masks on the device, where they claim to be valid
	// exact is set when every page below the limit is known to be valid or zero, so that any other is damage.
	exact bool
}

func newLoader(dev mdDevice, super *superblock, disk *masks, o loadOptions) *loader {
	l := &loader{
		table: newPageTable(dev, super, o.overlay), disk: disk, exact: o.highWater != 0,
		m: &metadata{
			super: *super, blobs: make(map[BlobID]*blobState),
			usedPages: newBitmap(super.mdPages()), usedClusters: newBitmap(super.clusters()),
		},
	}
	l.table.consume = l.decodeEarly
	return l
}

// decodeEarly decodes a sound blob of one page while the page is at hand, so that it need not be kept. Whatever is not
// that simple is left to run.
func (l *loader) decodeEarly(p pageIndex, b []byte) bool {
	if !isSinglePageBlob(b, p) {
		return false
	}
	s, err := decodeBlob(onePage{l.table, p, b}, p)
	if err != nil || l.checkExtents(s, p) != nil {
		return false
	}
	l.m.blobs[s.id] = s
	return true
}

// onePage is a table of which one page is at hand.
type onePage struct {
	*pageTable
	p pageIndex
	b []byte
}

func (o onePage) page(p pageIndex) ([]byte, error) {
	if p == o.p {
		return o.b, nil
	}
	return o.pageTable.page(p)
}

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
	s, err := decodeBlob(l.table, root)
	if err == nil {
		err = l.checkExtents(s, root)
	}
	if err != nil {
		l.m.bad = append(l.m.bad, badBlob{blobIDOf(root), err})
		return
	}
	l.m.blobs[s.id] = s
}

// checkExtents verifies that a blob's clusters are on the device and not those of the metadata.
func (l *loader) checkExtents(s *blobState, root pageIndex) error {
	first, end := uint64(l.m.super.mdClusters()), uint64(l.m.super.clusters())
	for _, e := range s.extents {
		if e.allocated() && (uint64(e.start) < first || uint64(e.start)+uint64(e.count) > end) {
			err := corruptf(pageHeaderSize, "extent", fmt.Sprintf("clusters %d to %d", first, end-1), e.String())
			return l.table.place(err, root)
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

// ids are the decoded blobs, ascending.
func (m *metadata) ids() []BlobID {
	ids := make([]BlobID, 0, len(m.blobs))
	for id := range m.blobs {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	return ids
}

// claimAll marks pages and clusters of every decoded blob as used. Blobs that share a cluster are refused: writing one
// would change the other.
func (l *loader) claimAll() {
	shared := make(map[clusterIndex]bool)
	for _, id := range l.m.ids() {
		s := l.m.blobs[id]
		for _, p := range s.pages {
			l.m.usedPages.set(int(p))
		}
		for _, p := range s.extentPages {
			l.m.usedPages.set(int(p))
		}
		eachCluster(s, func(c clusterIndex) {
			if !l.m.usedClusters.set(int(c)) {
				shared[c] = true
			}
		})
	}
	if len(shared) > 0 {
		l.refuseShared(shared)
	}
}

func eachCluster(s *blobState, f func(clusterIndex)) {
	for _, e := range s.extents {
		for i := uint32(0); e.allocated() && i < e.count; i++ {
			f(e.start + clusterIndex(i))
		}
	}
}

// refuseShared refuses every blob that holds one of the clusters.
func (l *loader) refuseShared(shared map[clusterIndex]bool) {
	first := make(map[clusterIndex]BlobID)
	for _, id := range l.m.ids() {
		s := l.m.blobs[id]
		eachCluster(s, func(c clusterIndex) {
			if !shared[c] {
				return
			}
			other, seen := first[c]
			if !seen {
				first[c] = id
				return
			}
			l.refusePair(s, l.m.blobs[other], c)
		})
	}
}

// refusePair refuses two blobs that share cluster c. Around an interrupted snapshot operation of SPDK sharing is a state
// it leaves on the way, and the blobs are refused for that.
func (l *loader) refusePair(a, b *blobState, c clusterIndex) {
	severity := SeverityError
	if a.interrupted() || b.interrupted() {
		severity = SeverityWarning
	}
	for _, pair := range [][2]*blobState{{a, b}, {b, a}} {
		s, other := pair[0], pair[1]
		err := corruptAt(l.table.dev, l.m.super.pageOffset(s.id.page()), fmt.Sprintf("blob %v", s.id),
			"clusters of its own", fmt.Sprintf("cluster %d, which blob %v holds too", c, other.id))
		if s.refused == nil || severity == SeverityError && errors.Is(s.refused, ErrUnsupportedBlob) {
			s.refused = err
		}
		l.find(Finding{Severity: severity, Blob: s.id, Err: err})
	}
}

// damagedPages reports pages that hold something but belong to no blob. A page that was a root by its id is a bad
// blob; other valid pages are what an interrupted change leaves and mean nothing.
func (l *loader) damagedPages() {
	known := make(map[BlobID]bool)
	for _, b := range l.m.bad {
		known[b.id] = true
	}
	l.table.each(func(p pageIndex, b []byte) {
		if l.m.usedPages.test(int(p)) || known[blobIDOf(p)] {
			return
		}
		if err := l.pageDamage(p, b); err != nil {
			l.damaged(p, b, err)
		}
	})
}

// pageDamage is what is wrong with a page by itself.
func (l *loader) pageDamage(p pageIndex, b []byte) error {
	if b == nil {
		_, err := l.table.page(p)
		return err
	}
	var h pageHeader
	return l.table.place(h.unmarshal(b), p)
}

// damaged files a page that cannot be trusted: as a bad blob if it was the root of one, by its own id or by the mask of
// blob ids, otherwise as a finding.
func (l *loader) damaged(p pageIndex, b []byte, err error) {
	if b == nil || looksLikeRoot(b, p) || l.disk != nil && l.disk.blobIDs.test(int(p)) {
		l.m.bad = append(l.m.bad, badBlob{blobIDOf(p), err})
		return
	}
	severity := SeverityWarning
	if l.exact {
		severity = SeverityError
	}
	l.find(Finding{Severity: severity, Err: err})
}

// missingBlobs files the blobs that the mask of blob ids knows but whose root page is empty.
func (l *loader) missingBlobs() {
	if l.disk == nil {
		return
	}
	l.disk.blobIDs.ranges(func(first, count int) {
		for p := pageIndex(first); p < pageIndex(first+count); p++ {
			if l.m.blobs[blobIDOf(p)] != nil {
				continue
			}
			if b, err := l.table.page(p); err == nil && isZeroPage(b) {
				err := corruptf(0, "root page of a blob", blobIDOf(p).String(), "zeros")
				l.m.bad = append(l.m.bad, badBlob{blobIDOf(p), l.table.place(err, p)})
			}
		}
	})
}

// compareMasks reports where the masks on the device differ from what the blobs use.
func (l *loader) compareMasks() {
	rebuilt := masksOf(l.m)
	l.compareMask(maskPages, l.m.super.pageMask, &l.disk.pages, &rebuilt.pages)
	l.compareMask(maskClusters, l.m.super.clusterMask, &l.disk.clusters, &rebuilt.clusters)
	l.compareMask(maskBlobIDs, l.m.super.blobIDMask, &l.disk.blobIDs, &rebuilt.blobIDs)
}

func (l *loader) compareMask(kind maskKind, at region, disk, want *bitmap) {
	first, differ := -1, 0
	for i := range want.len() {
		if disk.test(i) != want.test(i) {
			differ++
			if first < 0 {
				first = i
			}
		}
	}
	if differ == 0 {
		return
	}
	off := at.offset() + maskHeaderSize + int64(first/8)
	what := fmt.Sprintf("%v: bit %d, first of %d that differ from what the blobs use", kind, first, differ)
	err := corruptAt(l.table.dev, off, what, fmt.Sprint(want.test(first)), fmt.Sprint(disk.test(first)))
	l.find(Finding{Severity: SeverityWarning, Err: err})
}

func (l *loader) find(f Finding) { l.m.findings = append(l.m.findings, f) }

// salvageBad keeps the pages and clusters of bad blobs from being given to others, as far as their pages that are
// still valid name them.
func (l *loader) salvageBad() {
	if len(l.m.bad) == 0 {
		return
	}
	bad := make(map[BlobID]bool)
	for _, b := range l.m.bad {
		bad[b.id] = true
		l.m.usedPages.set(int(b.id.page()))
	}
	l.table.each(func(p pageIndex, b []byte) {
		var h pageHeader
		if b == nil || h.unmarshal(b) != nil || !bad[h.id] {
			return
		}
		l.m.usedPages.set(int(p))
		l.salvageClusters(b)
	})
}

// salvageClusters claims the clusters that a page's descriptors name.
func (l *loader) salvageClusters(b []byte) {
	eachDescriptor(b, func(_ int, kind byte, body []byte) error {
		switch kind {
		case descExtentRLE:
			for ; len(body) >= rleEntrySize; body = body[rleEntrySize:] {
				l.claimRun(getExtent(body))
			}
		case descExtentPage:
			for i := extentPageHeaderSize; i+4 <= len(body); i += 4 {
				l.claimRun(extent{getCluster(body[i:]), 1})
			}
		}
		return nil
	})
}

func (l *loader) claimRun(e extent) {
	if !e.allocated() {
		return
	}
	n := min(uint64(e.count), uint64(l.m.super.clusters()))
	l.m.usedClusters.setRange(int(e.start), int(n))
}
