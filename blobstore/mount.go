package blobstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/blobkv/blobkv/bdev"
)

// OpenOptions say how a store is opened.
type OpenOptions struct {
	ReadOnly bool   // nothing on the device changes; a dirty store is recovered in memory
	Type     string // the bstype that is expected; "" accepts any
	// Recover opens a store for writing that SPDK left dirty, or that is dirty and has metadata or vouched bytes which
	// the device cannot read, trusting what can be read: what belongs to damaged blobs may be given to others.
	Recover  bool
	Progress func(done, total int64) // metadata pages read
}

// legalStates are the states of a superblock between which a write in place may have been torn.
var legalStates = []superState{{versionSPDK, 1}, {versionSPDK, 0}, {versionDirty, 0}}

// Open opens the store on a device, which the caller keeps open until the store is closed. A store of ours that was not
// closed is recovered from its journal. Its errors are ErrNotBlobstore, ErrWrongType, ErrNewerVersion, ErrTruncated,
// ErrUnsupported, ErrNotClean, ErrCorrupt (with a *CorruptError that says where) and the device's.
func Open(dev *bdev.Device, o OpenOptions) (*Store, error) {
	super, err := readSuper(dev, legalStates)
	if err != nil {
		return nil, err
	}
	if o.Type != "" && super.typeName() != o.Type {
		return nil, fmt.Errorf("%s: superblock at offset 0: %w: expected %q, got %q", dev.Name(), ErrWrongType, o.Type, super.typeName())
	}
	if b := dev.Properties().BlockSize; b > pageSize {
		return nil, fmt.Errorf("%s: %w: blocks of %d bytes, at most %d", dev.Name(), ErrUnsupported, b, pageSize)
	}
	s := newStore(dev, super, o.ReadOnly)
	if err := s.mount(o); err != nil {
		s.release()
		return nil, err
	}
	if !s.readOnly {
		s.startWorker()
	}
	return s, nil
}

func newStore(dev *bdev.Device, super superblock, readOnly bool) *Store {
	s := &Store{
		dev: dev, super: super, found: super, mem: newMemory(), readOnly: readOnly || dev.Properties().ReadOnly,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), toVerify: vouchedBytes{limit: maxToVerify},
		bad: make(map[BlobID]error), dirty: make(map[BlobID]*dirtyBlob),
	}
	s.flushFailures, _ = dev.FlushFailures()
	s.changed = sync.NewCond(&s.mu)
	return s
}

// ours reports whether one of our writers had the store open, or was about to open or close it.
func (s *superblock) ours() bool {
	return s.version == versionDirty || s.torn && s.crcCandidate.version == versionDirty
}

func (s *Store) mount(o OpenOptions) error {
	switch {
	case s.super.ours():
		return s.mountDirty(o)
	case s.super.clean == 1 && !s.super.torn:
		return s.mountClean(o, true)
	case s.readOnly || o.Recover:
		s.recovered = true
		return s.mountClean(o, false)
	}
	return fmt.Errorf("%s: %w: SPDK left it dirty; open it read-only or ask for recovery", s.dev.Name(), ErrNotClean)
}

// adopt takes over what a load found.
func (s *Store) adopt(m *metadata) {
	s.pages = m.usedPages
	s.space = newSpace(m.usedClusters, s.dev.Properties().Sparse && !s.readOnly)
	for _, b := range m.bad {
		s.bad[b.id] = b.err
		s.pages.set(int(b.id.page()))
	}
	var blobs slab[Blob]
	var maps slab[firstMap]
	for id, st := range m.blobs.all() {
		b := blobs.new()
		b.init(s, st, maps.new())
		s.blobs.put(id, b)
		s.owed += b.owed()
	}
	for p := s.pages.nextSet(0); p >= 0; p = s.pages.nextSet(p + 1) {
		s.highWater = uint32(p) + 1
	}
}

// mountClean opens a store whose journal, if it has one, holds nothing.
func (s *Store) mountClean(o OpenOptions, masks bool) error {
	m, err := loadMetadata(s.dev, &s.super, loadOptions{masks: masks, progress: o.Progress})
	if err != nil {
		return err
	}
	st := journalOf(m)
	if st != nil {
		s.journalID = st.id
	}
	if err := s.mayUse(st, m, o); err != nil {
		return err
	}
	s.adopt(m)
	if s.readOnly {
		return nil
	}
	if s.super.version != versionSPDK {
		return fmt.Errorf("%s: %w for writing: superblock version %d, want %d", s.dev.Name(), ErrUnsupported, s.super.version, versionSPDK)
	}
	if err := s.scrub(); err != nil {
		return err
	}
	if st != nil && !m.masks.knows(st.id) {
		if err := s.rewriteJournalPage(st.id.page()); err != nil {
			return err
		}
	}
	if err := s.openJournal(st); err != nil {
		return err
	}
	if err := s.checkpoint(); err != nil { // a header with a session of its own
		return err
	}
	return s.writeSuper(versionDirty, 0)
}

// journalOf is the journal's blob, nil if there is none.
func journalOf(m *metadata) *blobState {
	for _, st := range m.blobs.all() {
		if _, ok, _ := journalTagOf(st); ok {
			return st
		}
	}
	return nil
}

// mayUse is the error of opening a store with journal st, if any, that needs no replay. A store of a newer program may be
// read if its features allow it. Writing takes a journal that can be trusted, or the certainty that there is none: it
// must not get a second one while the first cannot be read.
func (s *Store) mayUse(st *blobState, m *metadata, o OpenOptions) error {
	if st != nil {
		tag, _, err := journalTagOf(st)
		if err != nil && !(s.readOnly && tag.readable()) {
			return fmt.Errorf("%s: journal at md page %d: %w", s.dev.Name(), st.id.page(), err)
		}
		if st.refused != nil && !s.readOnly {
			return fmt.Errorf("%s: journal blob %v: %w", s.dev.Name(), st.id, st.refused)
		}
	}
	if s.readOnly {
		return nil
	}
	if m.unread == nil {
		return s.journalLost(st, m)
	}
	if st == nil || m.masks == nil && !o.Recover {
		return s.unreadable(m)
	}
	return nil
}

// journalLost is the error of opening a store for writing that has no journal, but a damaged blob that may be it.
func (s *Store) journalLost(st *blobState, m *metadata) error {
	if st != nil || len(m.bad) == 0 {
		return nil
	}
	b := m.bad[0]
	return fmt.Errorf("%s: no journal found, and blob %v, which may be it, is damaged: %w; open it read-only", s.dev.Name(), b.id, b.err)
}

// unreadable is the error of opening a store for writing while nobody knows what blobs own whose pages cannot be read.
func (s *Store) unreadable(m *metadata) error {
	return fmt.Errorf("%s: %w; open it read-only or ask for recovery", s.dev.Name(), m.unread)
}

// scrub zeroes md pages below the high-water mark that hold something but belong to nothing: once the superblock says
// that only our journal counts, every valid root page is a blob. Where blobs are damaged, other pages may be what is
// left of them and stay.
func (s *Store) scrub() error {
	holes := newBitmap(s.super.mdPages())
	for p := s.pages.nextClear(0); p >= 0 && p < int(s.highWater); p = s.pages.nextClear(p + 1) {
		holes.set(p)
	}
	if holes.count() == 0 {
		return nil
	}
	t := newPageTable(s.dev, &s.super, nil)
	t.load(&holes, nil)
	var images []mdPage
	for p := holes.nextSet(0); p >= 0; p = holes.nextSet(p + 1) {
		b, err := t.page(pageIndex(p))
		if err == nil && !isZeroPage(b) && (len(s.bad) == 0 || isBlobRoot(b, pageIndex(p))) {
			images = append(images, mdPage{pageIndex(p), zeroPage})
		}
	}
	if len(images) == 0 {
		return nil
	}
	if err := s.writePages(images); err != nil {
		return err
	}
	return s.flushDevice()
}

// rewriteJournalPage writes the journal's md page again as it is. The last open for writing made the journal and got no
// further: if its flush failed, the page may be in a cache that will never write it.
func (s *Store) rewriteJournalPage(p pageIndex) error {
	b := s.mem.Get(pageSize)
	defer s.mem.Put(b)
	off := s.super.pageOffset(p)
	err := doRetry(s.dev, bdev.OpRead, b, off, 0)
	if err == nil {
		err = doRetry(s.dev, bdev.OpWrite, b, off, 0)
	}
	if err == nil {
		err = s.flushDevice()
	}
	if err != nil {
		return fmt.Errorf("%s: journal's md page at offset %d: %w", s.dev.Name(), off, err)
	}
	return nil
}

// openJournal prepares the journal of a clean store, and makes one if there is none.
func (s *Store) openJournal(st *blobState) error {
	var ji *journalImage
	var err error
	if st == nil {
		ji, err = s.addJournal()
	} else {
		tag, _, _ := journalTagOf(st)
		ji, err = readJournal(s.dev, &s.super, st, tag, s.mem, false)
	}
	if err != nil {
		return err
	}
	if err := ji.headerErr(); errors.Is(err, ErrNewerVersion) {
		return err
	} else if err != nil { // it holds nothing: what is damaged is only the place where it would go on
		if ji.base, err = ji.file.format(ji.tag.uuid, true); err != nil {
			return err
		}
		if err := s.flushDevice(); err != nil {
			return err
		}
	}
	s.startJournal(ji, journalEnd{
		lsn: ji.base.checkpoint, position: ji.base.start, sequence: ji.base.sequence, chain: ji.base.chain,
	})
	return nil
}

// startJournal lets the journal go on at end with a session of its own: whatever lies in the ring beyond is void.
func (s *Store) startJournal(ji *journalImage, end journalEnd) {
	j := newJournal(ji.file, ji.base)
	j.header.highWater = s.highWater // SPDK may have used more since the header was written
	j.session = newSession()
	j.next, j.written, j.carried = end.lsn+1, end.lsn, end.lsn
	j.position, j.start, j.sequence, j.chain = end.position, end.position, end.sequence, end.chain
	s.j = j
	s.durable.Store(uint64(end.lsn))
	s.confirmed, s.durableConfirmed = end.lsn, end.lsn
	s.writtenSequence, s.durableSequence = end.sequence-1, end.sequence-1
}

// mountDirty recovers a store of ours from its journal: complete the newest checkpoint, redo what follows, and make a
// checkpoint of the result. Reading only, all of it happens in memory.
func (s *Store) mountDirty(o OpenOptions) error {
	st, tag, err := findJournal(s.dev, &s.super)
	if err != nil {
		return err
	}
	ji, err := readJournal(s.dev, &s.super, st, tag, s.mem, true)
	if err == nil {
		err = ji.headerErr()
	}
	if err != nil {
		return err
	}
	m, err := loadMetadata(s.dev, &s.super, loadOptions{
		highWater: pageIndex(ji.base.highWater), overlay: ji.overlay(), progress: o.Progress,
	})
	if err != nil {
		return err
	}
	if m.unread != nil && !s.readOnly && !o.Recover {
		return s.unreadable(m)
	}
	s.recovered = true
	s.journalID = st.id
	s.adopt(m)
	s.highWater = max(s.highWater, ji.base.highWater)
	r := redo{store: s, recover: o.Recover}
	end, err := ji.replay(&r)
	if err != nil {
		return err
	}
	s.replayed = r.records
	s.durable.Store(uint64(end.lsn))
	if s.readOnly {
		return nil
	}
	return s.completeRecovery(ji, end)
}

// completeRecovery brings the device to the state that was recovered in memory. It may be cut at any point and begins
// again: the ring and the images stay until the last header is durable.
func (s *Store) completeRecovery(ji *journalImage, end journalEnd) error {
	if s.super.torn {
		if err := s.writeSuper(versionDirty, 0); err != nil {
			return err
		}
	}
	if ji.finish {
		if err := s.writePages(ji.images); err != nil {
			return err
		}
		if err := s.flushDevice(); err != nil {
			return err
		}
		if err := ji.file.writeHeader(&ji.base); err != nil {
			return err
		}
		if err := s.flushDevice(); err != nil {
			return err
		}
	}
	s.startJournal(ji, end)
	return s.checkpoint()
}

// writeSuper changes version and clean of the superblock in place and makes that durable.
func (s *Store) writeSuper(version, clean uint32) error {
	s.super.version, s.super.clean, s.super.torn = version, clean, false
	if err := writeSuperblock(s.dev, &s.super); err != nil {
		return err
	}
	if err := s.flushDevice(); err != nil {
		return fmt.Errorf("%s: flush: %w", s.dev.Name(), err)
	}
	return nil
}

func writeSuperblock(dev *bdev.Device, super *superblock) error {
	b := make([]byte, superSize)
	if err := super.marshal(b); err != nil {
		return err
	}
	if err := doRetry(dev, bdev.OpWrite, b, 0, 0); err != nil {
		return fmt.Errorf("%s: superblock at offset 0: %w", dev.Name(), err)
	}
	return nil
}

// Close makes everything durable and leaves a clean store that SPDK's tools load. The device stays open. A store that
// has failed is left as it is, to be recovered at the next open; Close then returns why.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	s.dropVouchers()
	s.changed.Broadcast()
	s.mu.Unlock()
	defer s.release()
	if s.readOnly {
		return nil
	}
	s.stopWorker()
	if err := s.Err(); err != nil {
		return err
	}
	return s.shut()
}

// dropVouchers sets back vouched changes that nobody has synced: nobody will, and their bytes may not be there. The caller
// holds mu.
func (s *Store) dropVouchers() {
	for _, v := range slices.Clone(s.vouchers) {
		if !v.done {
			s.setBack(v)
			v.done = true
		}
	}
}

// release gives the store's memory back.
func (s *Store) release() {
	if s.j != nil {
		s.j.release()
	}
	_ = s.mem.Close()
}

// shut writes the last checkpoint, the masks, the closed header and the clean superblock, each durable before the next.
func (s *Store) shut() error {
	if err := s.checkpoint(); err != nil {
		return err
	}
	s.mu.Lock()
	for _, p := range s.space.pending { // the I/O they wait for is over with the store
		s.space.put(p.runs)
	}
	s.space.pending, s.space.waiting = nil, 0
	m := s.metadata()
	s.mu.Unlock()
	if err := writeMasks(s.dev, &s.super, masksOf(m)); err != nil {
		return s.failed(err)
	}
	if err := s.flush(); err != nil {
		return err
	}
	h := s.j.header
	h.generation++
	h.closed = true
	if err := s.j.file.writeHeader(&h); err != nil {
		return s.failed(err)
	}
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.writeSuper(versionSPDK, 1); err != nil {
		return s.failed(err)
	}
	return nil
}

// metadata is the store's state as a load would find it. The caller holds mu.
func (s *Store) metadata() *metadata {
	m := &metadata{super: s.super, usedPages: s.pages, usedClusters: s.space.used}
	for id, b := range s.blobs.all() {
		m.blobs.put(id, b.st)
	}
	for id, err := range s.bad {
		m.bad = append(m.bad, badBlob{id, err})
	}
	return m
}

// writeMasks writes the three masks.
func writeMasks(dev *bdev.Device, super *superblock, k *masks) error {
	for _, w := range []struct {
		kind maskKind
		at   region
		bits *bitmap
	}{
		{maskPages, super.pageMask, &k.pages},
		{maskClusters, super.clusterMask, &k.clusters},
		{maskBlobIDs, super.blobIDMask, &k.blobIDs},
	} {
		b := make([]byte, w.at.bytes())
		if err := marshalMask(b, w.kind, w.bits); err != nil {
			return err
		}
		if err := doRetry(dev, bdev.OpWrite, b, w.at.offset(), 0); err != nil {
			return fmt.Errorf("%s: %v at offset %d: %w", dev.Name(), w.kind, w.at.offset(), err)
		}
	}
	return nil
}
