package blobstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/blobkv/blobkv/bdev"
)

// FormatOptions say how Format lays a store out. The zero value is a good choice.
type FormatOptions struct {
	ClusterSize int    // bytes, a power-of-two multiple of 4096; 0: 1 MiB, less on small devices
	MDPages     int    // metadata pages (one per blob at least); 0: derived from the cluster count
	Type        string // bstype, at most 16 bytes
	JournalSize int64  // bytes; 0: a 64th of the device, 256 KiB to 32 MiB
	Force       bool   // format although the device holds something that is not ours
	Progress    func(done, total int64)
	// FirstBlob, if not nil, are the attributes of an empty blob, FirstBlobID, that the store has from the start.
	FirstBlob map[string][]byte
}

// FirstBlobID is the id of the blob that FormatOptions.FirstBlob makes, and of the first that is created otherwise.
const FirstBlobID BlobID = 1<<32 | 1

const (
	minJournalSize = minJournalBlocks * journalBlock
	maxJournalSize = 32 << 20
)

// Format makes an empty, clean store on a device. Unless Force is set it refuses, naming what it found, a device that
// holds anything but zeros, an intact store of the same type or what an interrupted Format left. On a sparse image
// superblock, metadata region and journal get their host space here.
func Format(dev *bdev.Device, o FormatOptions) error {
	if !o.Force {
		if err := mayFormat(dev, o.Type); err != nil {
			return err
		}
	}
	f, err := newFormatter(dev, o)
	if err != nil {
		return fmt.Errorf("%s: format: %w", dev.Name(), err)
	}
	defer f.file.mem.Close()
	if err := f.run(); err != nil {
		return fmt.Errorf("%s: format: %w", dev.Name(), hostSpace(err))
	}
	return nil
}

// formatter lays out one store.
type formatter struct {
	dev     *bdev.Device
	super   superblock
	journal []extent
	file    journalFile
	o       FormatOptions
}

func newFormatter(dev *bdev.Device, o FormatOptions) (*formatter, error) {
	f := &formatter{dev: dev, o: o}
	block := dev.Properties().BlockSize
	if block > pageSize {
		return nil, fmt.Errorf("%w: blocks of %d bytes, at most %d", ErrUnsupported, block, pageSize)
	}
	for name, value := range o.FirstBlob {
		if err := checkXattr(name, value); err != nil {
			return nil, err
		}
	}
	size := dev.Size() / pageSize * pageSize
	cluster := o.ClusterSize
	if cluster == 0 {
		cluster = defaultClusterSize(size)
	}
	if cluster < minClusterSize || cluster&(cluster-1) != 0 {
		return nil, fmt.Errorf("%w: cluster size %d: want a power of two from %d on", ErrInvalid, cluster, minClusterSize)
	}
	pages := o.MDPages
	if pages == 0 {
		pages = defaultMDPages(size, int64(cluster))
	}
	if pages < 0 || int64(pages) >= size/pageSize {
		return nil, fmt.Errorf("%w: %d metadata pages on a device of %d bytes", ErrNoSpace, pages, size)
	}
	var err error
	if f.super, err = layoutSuper(size, cluster, pages, block, o.Type); err != nil {
		return nil, err
	}
	return f, f.placeJournal(o.JournalSize)
}

// placeJournal puts the journal right behind the metadata region.
func (f *formatter) placeJournal(size int64) error {
	n, err := journalClusters(size, &f.super)
	if err != nil {
		return err
	}
	first := f.super.mdClusters()
	if first+n >= f.super.clusters() {
		return fmt.Errorf("%w: metadata and journal take %d of %d clusters", ErrNoSpace, first+n, f.super.clusters())
	}
	f.journal = []extent{{clusterIndex(first), uint32(n)}}
	f.file, err = newJournalFile(f.dev, &f.super, f.journal, newMemory())
	return err
}

// defaultClusterSize keeps small devices usable: a file takes a cluster at least.
func defaultClusterSize(size int64) int {
	switch {
	case size >= 4<<30:
		return 1 << 20
	case size >= 512<<20:
		return 256 << 10
	default:
		return 64 << 10
	}
}

// defaultMDPages allows one blob for two clusters; on large devices, where a page costs time to clear and clusters are
// rarely single, fewer. It takes no more than an eighth of the device.
func defaultMDPages(size, clusterSize int64) int {
	clusters := size / clusterSize
	pages := min(max(clusters/2, min(clusters, 1024)), max(1<<16, clusters/16))
	return int(max(16, min(pages, size/pageSize/8)))
}

// journalClusters is the size of a journal in clusters; 0 bytes means the default.
func journalClusters(size int64, super *superblock) (int, error) {
	if size == 0 {
		size = min(max(int64(super.size)/64, minJournalSize), maxJournalSize)
	}
	if size < minJournalSize || size > 1<<30 {
		return 0, fmt.Errorf("%w: journal of %d bytes: want %d to %d", ErrInvalid, size, minJournalSize, 1<<30)
	}
	return int(ceilDiv(size, int64(super.clusterSize))), nil
}

// run writes the store. A mark replaces what page 0 held first, and the superblock replaces the mark last, each by a
// write that changes one sector: a format that is cut leaves what was there, the mark or the finished store.
func (f *formatter) run() error {
	if err := f.writeMark(); err != nil {
		return err
	}
	if err := f.zero(pageSize, f.super.md.offset()-pageSize); err != nil {
		return err
	}
	if err := f.wipeEnd(); err != nil {
		return err
	}
	if err := f.clearMetadata(); err != nil {
		return err
	}
	tag := journalTag{uuid: newUUID()}
	if _, err := f.file.format(tag.uuid, f.dev.Properties().Sparse); err != nil {
		return err
	}
	if err := f.writeMetadata(tag); err != nil {
		return err
	}
	return f.writeSuper()
}

// writeMark makes the format mark durable before anything else changes. The other sectors of the page stay: torn, the
// write leaves an old superblock intact.
func (f *formatter) writeMark() error {
	b := make([]byte, pageSize)
	if doRetry(f.dev, bdev.OpRead, b, 0, 0) != nil {
		clear(b) // formatted by force
	}
	putFormatMark(b)
	return f.writeFirst(b)
}

// writeSuper makes the clean superblock durable together with all before it: first the sectors behind the mark, the CRC
// among them, then the one with the fields.
func (f *formatter) writeSuper() error {
	f.super.clean = 1
	b := make([]byte, superSize)
	if err := f.super.marshal(b); err != nil {
		return err
	}
	putFormatMark(b)
	if err := f.writeFirst(b); err != nil {
		return err
	}
	if err := f.super.marshal(b); err != nil {
		return err
	}
	return f.writeFirst(b)
}

// writeFirst writes page 0 and flushes.
func (f *formatter) writeFirst(b []byte) error {
	if err := doRetry(f.dev, bdev.OpWrite, b, 0, 0); err != nil {
		return fmt.Errorf("page 0: %w", err)
	}
	return f.dev.Flush()
}

// zero writes zeros as data, so that a sparse image gets its space.
func (f *formatter) zero(off, n int64) error {
	buf := f.file.mem.Get(copySize)
	defer f.file.mem.Put(buf)
	clear(buf)
	for n > 0 {
		k := min(n, int64(len(buf)))
		if err := doRetry(f.dev, bdev.OpWrite, buf[:k], off, 0); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// wipeEnd clears what other formats keep at the end of a device, such as the second copy of a partition table.
func (f *formatter) wipeEnd() error {
	n := min(probeSize, f.dev.Size()/2)
	block := int64(f.dev.Properties().BlockSize)
	n = n / block * block
	return doRetry(f.dev, bdev.OpWriteZeroes, nil, f.dev.Size()-n, n)
}

// clearMetadata zeroes the metadata region in large steps.
func (f *formatter) clearMetadata() error {
	const stride = 16 << 20
	total := f.super.md.bytes()
	for done := int64(0); done < total; {
		n := min(stride, total-done)
		off := f.super.md.offset() + done
		if err := doRetry(f.dev, bdev.OpAllocate, nil, off, n); err != nil && !errors.Is(err, bdev.ErrUnsupported) {
			return err
		}
		if err := doRetry(f.dev, bdev.OpWriteZeroes, nil, off, n); err != nil {
			return err
		}
		done += n
		if f.o.Progress != nil {
			f.o.Progress(done, total)
		}
	}
	return nil
}

// writeMetadata writes the md pages of the journal and the first blob, and the masks.
func (f *formatter) writeMetadata(tag journalTag) error {
	m := &metadata{
		super: f.super, usedPages: newBitmap(f.super.mdPages()), usedClusters: newBitmap(f.super.clusters()),
	}
	for _, st := range f.blobs(tag) {
		pages, err := st.encode(noMorePages)
		if err != nil {
			return err
		}
		if err := doRetry(f.dev, bdev.OpWrite, pages[0].data, f.super.pageOffset(pages[0].index), 0); err != nil {
			return err
		}
		m.blobs.put(st.id, st)
		m.usedPages.set(int(st.id.page()))
	}
	m.usedClusters.setRange(0, f.super.mdClusters())
	for _, e := range f.journal {
		m.usedClusters.setRange(int(e.start), int(e.count))
	}
	return writeMasks(f.dev, &f.super, masksOf(m))
}

// blobs are those of the new store.
func (f *formatter) blobs(tag journalTag) []*blobState {
	list := []*blobState{journalState(tag, f.journal)}
	if f.o.FirstBlob == nil {
		return list
	}
	first := &blobState{id: FirstBlobID}
	for _, name := range slices.Sorted(maps.Keys(f.o.FirstBlob)) {
		first.xattrs.set(name, f.o.FirstBlob[name])
	}
	return append(list, first)
}

// noMorePages is the allocator of a blob that must fit its root page.
func noMorePages() (pageIndex, error) {
	return 0, fmt.Errorf("%w: the blob does not fit one metadata page", ErrNoSpace)
}

// journalState is the journal's blob. It is marked read-only for SPDK's sake.
func journalState(tag journalTag, extents []extent) *blobState {
	st := &blobState{id: blobIDOf(tag.page), extents: extents, flags: blobFlags{dataRO: flagDataReadOnly}}
	st.xattrs.set(journalXattr, tag.marshal())
	return st
}

func newUUID() (u storeUUID) {
	_, _ = rand.Read(u[:]) // never fails (crypto/rand)
	return u
}

// format makes an empty journal and returns its header. On a sparse image every block is written, so that appends never
// meet a hole; elsewhere only what is read before it is written.
func (f *journalFile) format(uuid storeUUID, all bool) (journalHeader, error) {
	// Sequences begin at 1, so that a frame can say that none is durable yet.
	h := journalHeader{uuid: uuid, sequence: 1, highWater: 1, blocks: uint32(f.geo.blocks), closed: true}
	n := f.geo.ringBlock()
	if all {
		n = f.geo.blocks
	}
	buf := f.mem.Get(copySize)
	defer f.mem.Put(buf)
	clear(buf)
	for at := 0; at < n; at += len(buf) / journalBlock {
		k := min(n-at, len(buf)/journalBlock)
		if err := f.write(buf[:k*journalBlock], at); err != nil {
			return h, err
		}
	}
	return h, f.writeHeader(&h)
}

// addJournal makes a journal in a clean store that has none, in an order that leaves it SPDK's clean store until the
// superblock says otherwise: content, flush, md page, flush. The masks on the device do not show it yet.
func (s *Store) addJournal() (*journalImage, error) {
	n, err := journalClusters(0, &s.super)
	if err != nil {
		return nil, err
	}
	runs, ok := s.space.alloc(int64(n), 0)
	p := s.pages.nextClear(0)
	if !ok || p < 0 {
		return nil, fmt.Errorf("%s: journal of %d clusters: %w", s.dev.Name(), n, ErrNoSpace)
	}
	tag := journalTag{uuid: newUUID(), page: pageIndex(p)}
	st := journalState(tag, runs)
	pages, err := st.encode(noMorePages)
	if err != nil {
		return nil, err
	}
	file, err := newJournalFile(s.dev, &s.super, runs, s.mem)
	if err != nil {
		return nil, err
	}
	s.pages.set(p)
	s.highWater = max(s.highWater, uint32(p)+1)
	s.journalID = st.id
	s.blobs.put(st.id, newBlob(s, st))
	ji := &journalImage{device: s.dev.Name(), file: file, tag: tag, page: tag.page}
	if ji.base, err = file.format(tag.uuid, s.space.sparse); err != nil {
		return nil, err
	}
	ji.base.highWater = s.highWater
	if err := s.flushDevice(); err != nil {
		return nil, err
	}
	if err := s.writePages(pages); err != nil {
		return nil, err
	}
	return ji, s.flushDevice()
}
