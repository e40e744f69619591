package blobstore

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What a load does with blobs and pages that cannot be trusted: each costs itself and nothing else.

// claimAll marks pages and clusters of every decoded blob as used. Blobs that share a cluster are refused: writing one
// would change the other.
func (l *loader) claimAll() {
	shared := make(map[clusterIndex]bool)
	for _, s := range l.m.blobs.all() {
		for p := range s.allPages() {
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
	for id, s := range l.m.blobs.all() {
		eachCluster(s, func(c clusterIndex) {
			if !shared[c] {
				return
			}
			other, seen := first[c]
			if !seen {
				first[c] = id
				return
			}
			l.refusePair(s, l.m.blobs.get(other), c)
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
	if l.wasRoot(p, b) {
		l.m.bad = append(l.m.bad, badBlob{blobIDOf(p), err})
		return
	}
	severity := SeverityWarning
	if l.exact {
		severity = SeverityError
	}
	l.find(Finding{Severity: severity, Err: err})
}

// wasRoot reports whether a page that cannot be trusted was the root of a blob. Where no mask can tell, one that cannot
// be read was.
func (l *loader) wasRoot(p pageIndex, b []byte) bool {
	if b != nil && looksLikeRoot(b, p) {
		return true
	}
	if l.disk == nil {
		return b == nil
	}
	return l.disk.blobIDs.test(int(p))
}

// keepMasked keeps what the masks on the device call used, below page limit, from being given to others: damaged blobs
// own more than what is left of them says. Masks of a store that is not clean are those of its last close, which know
// the blobs that were damaged then. They may claim too much, and that stays claimed as long as the damage.
func (l *loader) keepMasked(limit int) {
	disk := l.disk
	if disk == nil {
		var err error
		if disk, err = readMasks(l.table.dev, &l.m.super); err != nil {
			return
		}
	}
	disk.pages.ranges(func(first, count int) { l.m.usedPages.setRange(first, min(count, limit-first)) })
	disk.clusters.ranges(l.m.usedClusters.setRange)
}

// missingBlobs files the blobs that the mask of blob ids knows but whose root page is empty.
func (l *loader) missingBlobs() {
	if l.disk == nil {
		return
	}
	l.disk.blobIDs.ranges(func(first, count int) {
		for p := pageIndex(first); p < pageIndex(first+count); p++ {
			if l.m.blobs.get(blobIDOf(p)) != nil {
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

// salvageBad keeps the pages and clusters of bad blobs from being given to others, as far as what is left of their
// pages names them. A page is believed in that even if its checksum is wrong.
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
		if b == nil {
			return
		}
		var h pageHeader
		if h.unmarshal(b) != nil {
			h = pageHeader{
				id: BlobID(binary.LittleEndian.Uint64(b)), next: pageIndex(binary.LittleEndian.Uint32(b[pageOffNext:])),
			}
		}
		if bad[h.id] {
			l.m.usedPages.set(int(p))
			l.m.usedPages.set(int(h.next))
			l.salvageDescriptors(b)
		}
	})
}

// salvageDescriptors claims the clusters and extent pages that a page's descriptors name, as far as they make sense.
func (l *loader) salvageDescriptors(b []byte) {
	_ = eachDescriptor(b, func(_ int, kind byte, body []byte) error {
		switch kind {
		case descExtentRLE:
			for ; len(body) >= rleEntrySize; body = body[rleEntrySize:] {
				l.claimRun(getExtent(body))
			}
		case descExtentPage:
			for i := extentPageHeaderSize; i+4 <= len(body); i += 4 {
				l.claimRun(extent{getCluster(body[i:]), 1})
			}
		case descExtentTable:
			for i := tableHeaderSize; i+tableEntrySize <= len(body); i += tableEntrySize {
				if page := binary.LittleEndian.Uint32(body[i:]); page != 0 { // 0: none
					l.m.usedPages.set(int(page))
				}
			}
		}
		return nil
	})
}

func (l *loader) claimRun(e extent) {
	if e.allocated() && uint64(e.start)+uint64(e.count) <= uint64(l.m.super.clusters()) {
		l.m.usedClusters.setRange(int(e.start), int(e.count))
	}
}
