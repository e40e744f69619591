package blobstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// journalImage is a journal as it was found on the device: what mounting, check and dump see of it.
type journalImage struct {
	device string
	file   journalFile
	tag    journalTag
	page   pageIndex // md page of the journal blob

	headers    [journalSlots]journalHeader
	headerErrs [journalSlots]error // why a slot does not count; nil for one that does

	// base is the header that counts. If the images of a later checkpoint are complete, it is theirs: then images are
	// to be written in place, and base after them, before anything else.
	base     journalHeader
	images   []mdPage
	finish   bool  // base is that of the images and not in its slot yet
	imageErr error // why the image area does not count, nil if it does or holds an old checkpoint

	ring       []byte        // the ring's content
	unreadable map[int]error // blocks of the ring that the device could not read; they are zeros in ring
}

// journalTagOf is the tag of a blob that is the journal. err is an ErrNewerVersion that the tag gives rise to.
func journalTagOf(st *blobState) (tag journalTag, ok bool, err error) {
	v, ok := st.xattrs.get(journalXattr)
	if !ok {
		return tag, false, nil
	}
	if err = tag.unmarshal(v, st.id.page()); err == nil || errors.Is(err, ErrNewerVersion) {
		return tag, true, err
	}
	return tag, false, nil // a copy of the journal's page, or an xattr of somebody else
}

// findJournal looks for the journal of a store whose other metadata cannot be trusted: the blob with the lowest md page
// that is a valid root page and carries the journal's xattr naming that page. A store of ours has it on page 0.
func findJournal(dev *bdev.Device, super *superblock) (*blobState, journalTag, error) {
	var unread error // it may be there
	for first := 0; first < super.mdPages(); {
		n := 1 // page 0 by itself: that is where it mostly is
		if first > 0 {
			n = min(scanChunkPages, super.mdPages()-first)
		}
		t := newPageTable(dev, super, nil)
		want := newBitmap(super.mdPages())
		want.setRange(first, n)
		t.load(&want, nil)
		st, tag, err := journalAmong(t, first, n)
		if st != nil || err != nil {
			return st, tag, err
		}
		if unread == nil {
			unread = t.anyFailure()
		}
		first += n
	}
	if unread != nil {
		return nil, journalTag{}, fmt.Errorf("%s: looking for the journal: %w", dev.Name(), unread)
	}
	err := corruptAt(dev, super.md.offset(), "metadata region", fmt.Sprintf("a blob with xattr %q", journalXattr), "none")
	return nil, journalTag{}, err
}

func journalAmong(t *pageTable, first, n int) (*blobState, journalTag, error) {
	for p := pageIndex(first); p < pageIndex(first+n); p++ {
		b, err := t.page(p)
		if err != nil || isZeroPage(b) || !isBlobRoot(b, p) {
			continue
		}
		st, err := decodeBlob(t, p, newBlobMemory())
		if err != nil {
			continue
		}
		v, ok := st.xattrs.get(journalXattr)
		if !ok {
			continue
		}
		var tag journalTag
		if err := tag.unmarshal(v, p); err != nil {
			if errors.Is(err, ErrNewerVersion) {
				return nil, tag, fmt.Errorf("%s: journal at md page %d: %w", t.dev.Name(), p, err)
			}
			continue
		}
		return st, tag, nil
	}
	return nil, journalTag{}, nil
}

// readJournal reads the journal of blob st. whole says whether the ring and the image area are wanted too. Damage
// that only costs the journal's content is kept in the image; an error means that nothing can be said.
func readJournal(dev *bdev.Device, super *superblock, st *blobState, tag journalTag, mem *dmabuf.Pool, whole bool) (*journalImage, error) {
	file, err := newJournalFile(dev, super, st.extents, mem)
	if err != nil {
		return nil, fmt.Errorf("%s: journal blob %v: %w", dev.Name(), st.id, err)
	}
	ji := &journalImage{device: dev.Name(), file: file, tag: tag, page: st.id.page()}
	ji.readHeaders(super.mdPages())
	if !whole {
		return ji, nil
	}
	if err := ji.readImages(super); err != nil {
		return nil, ji.doubt(err)
	}
	ji.readRing()
	return ji, nil
}

// place puts an error found at an offset of journal block n onto the device.
func (ji *journalImage) place(err error, n int) error {
	return at(err, ji.device, ji.file.offset(n), fmt.Sprintf("journal block %d", n))
}

// readRing reads the whole ring, block by block if need be: what cannot be read holds no frame, and matters only if the
// chain leads there.
func (ji *journalImage) readRing() {
	first := ji.file.geo.ringBlock()
	ji.ring = make([]byte, ji.file.geo.ring*journalBlock)
	if ji.file.read(ji.ring, first) == nil {
		return
	}
	ji.unreadable = make(map[int]error)
	for i := range ji.file.geo.ring {
		b := ji.ring[i*journalBlock : (i+1)*journalBlock]
		if err := ji.file.read(b, first+i); err != nil {
			ji.unreadable[i] = err
			clear(b)
		}
	}
}

// readHeaders reads both slots; base is the newer valid one. A slot that cannot be read is like one that is damaged.
func (ji *journalImage) readHeaders(mdPages int) {
	b := make([]byte, journalBlock)
	for i := range ji.headers {
		h := &ji.headers[i]
		err := ji.file.read(b, i)
		if err == nil {
			err = h.unmarshal(b, ji.tag.uuid)
		}
		if err == nil {
			err = h.validate(ji.file.geo, mdPages)
		}
		if err == nil && h.slot() != i {
			err = corruptf(12, "journal header: slot", fmt.Sprint(i), fmt.Sprint(h.slot()))
		}
		ji.headerErrs[i] = ji.place(err, i)
		if err == nil && h.generation >= ji.base.generation {
			ji.base = *h
		}
	}
}

// nextHeaderErr is why the header that would follow the base is not valid; nil says that its slot holds the one before
// the base.
func (ji *journalImage) nextHeaderErr() error {
	return ji.headerErrs[(ji.base.generation+1)%journalSlots]
}

// doubt is what a contradiction in the journal comes to when the device could not read the header that may explain it: no
// damage, but an error of the device.
func (ji *journalImage) doubt(err error) error {
	unread := ji.nextHeaderErr()
	if unread == nil || errors.Is(unread, ErrCorrupt) || !errors.Is(err, ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w; without it: %v", unread, err)
}

// headerErr is the error of a journal without a valid header, without a trustworthy one, or with one of a newer version.
// The base cannot be trusted if the header after it may be what is damaged and the image area has been changed since:
// then the pages in place may be those of the lost header.
func (ji *journalImage) headerErr() error {
	for _, err := range ji.headerErrs {
		if errors.Is(err, ErrNewerVersion) {
			return err
		}
	}
	if ji.headerErrs[0] != nil && ji.headerErrs[1] != nil {
		return errors.Join(ji.headerErrs[0], ji.headerErrs[1])
	}
	if err := ji.nextHeaderErr(); err != nil && ji.imageErr != nil {
		return errors.Join(err, ji.imageErr)
	}
	return nil
}

// readImages reads the image area. If it holds a complete checkpoint that is newer than the newest header, that becomes
// the base. No more is read than counts; what counts and cannot be read is an error, because the pages in place
// may be half of that checkpoint.
func (ji *journalImage) readImages(super *superblock) error {
	geo := ji.file.geo
	head := make([]byte, geo.imageHeader*journalBlock)
	if err := ji.file.read(head[:journalBlock], geo.imageBlock()); err != nil {
		return err
	}
	if allZero(head[:journalSectorSize]) {
		return nil // no checkpoint yet
	}
	var h imageHeader
	if err := h.unmarshal(head, ji.tag.uuid); err != nil {
		ji.imageErr = ji.place(err, geo.imageBlock())
		return nil
	}
	if h.generation <= ji.base.generation {
		return nil // that checkpoint is in place
	}
	if h.generation != ji.base.generation+1 {
		return ji.place(corruptf(32, "journal images: generation (a header is lost)",
			fmt.Sprintf("at most %d", ji.base.generation+1), fmt.Sprint(h.generation)), geo.imageBlock())
	}
	if int64(h.count) > int64(geo.images) {
		err := corruptf(12, "journal images: number", fmt.Sprintf("at most %d", geo.images), fmt.Sprint(h.count))
		ji.imageErr = ji.place(err, geo.imageBlock())
		return nil
	}
	list := imageListOffset + int(h.count)*imageEntrySize
	if list > journalBlock {
		if err := ji.file.read(head[journalBlock:ceilDiv(list, journalBlock)*journalBlock], geo.imageBlock()+1); err != nil {
			return err
		}
	}
	data := make([]byte, int(h.count)*pageSize)
	if err := ji.file.read(data, geo.imageBlock()+geo.imageHeader); err != nil {
		return err
	}
	return ji.useImages(super, &h, head[:list], data)
}

// useImages makes a newer checkpoint the base if it is whole. A torn one is what a crash leaves.
func (ji *journalImage) useImages(super *superblock, h *imageHeader, head, data []byte) error {
	geo := ji.file.geo
	var sum Checksum
	sum.Add(head[imageEmbedOffset:])
	sum.Add(data)
	if got := sum.Sum(); got != h.sum {
		ji.imageErr = ji.place(corruptf(40, "journal images: checksum", hex64(got), hex64(h.sum)), geo.imageBlock())
		return nil
	}
	var next journalHeader
	err := next.unmarshal(head[imageEmbedOffset:], ji.tag.uuid)
	if err == nil {
		err = next.validate(geo, super.mdPages())
	}
	if err != nil {
		return ji.place(shift(err, imageEmbedOffset), geo.imageBlock())
	}
	images := make([]mdPage, h.count)
	for i := range images {
		p := binary.LittleEndian.Uint64(head[imageListOffset+i*imageEntrySize:]) - uint64(super.md.start)
		if p >= uint64(super.md.length) {
			return ji.place(corruptf(imageListOffset+i*imageEntrySize, "journal images: page", "a metadata page", fmt.Sprint(p)), geo.imageBlock())
		}
		images[i] = mdPage{pageIndex(p), data[i*pageSize : (i+1)*pageSize]}
	}
	ji.base, ji.images, ji.finish = next, images, true
	return nil
}

// overlay is the images by page, as loadMetadata takes them.
func (ji *journalImage) overlay() map[pageIndex][]byte {
	m := make(map[pageIndex][]byte, len(ji.images))
	for _, p := range ji.images {
		m[p.index] = p.data
	}
	return m
}

// journalVisitor is told what a replay finds, in order. Any of its methods may end the replay with an error.
type journalVisitor interface {
	// frame is called for each frame of the chain; off is its byte offset on the device.
	frame(h *frameHeader, off int64) error
	// record is called for each transaction after the base's checkpoint. confirmed says whether its voucher, if it
	// has one, needs no verification.
	record(r record, confirmed bool) error
}

// journalEnd is where the chain ends.
type journalEnd struct {
	lsn      LSN    // newest transaction
	position uint64 // of the next frame
	sequence uint64
	chain    uint64
	frames   int
	stopped  error // why the block at the end is not the next frame, for dump
}

// replay walks the chain of frames from the base on: the one pass that mount, check and dump share. It visits all
// frames, then, knowing which vouchers are confirmed, all records. An error that is not the visitor's means that
// transactions known to have been durable are missing.
func (ji *journalImage) replay(v journalVisitor) (journalEnd, error) {
	end := journalEnd{lsn: ji.base.checkpoint, position: ji.base.start, sequence: ji.base.sequence, chain: ji.base.chain}
	confirmed := ji.base.checkpoint
	var frames [][]byte
	for {
		b, h, err := ji.nextFrame(&end)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return end, err // it cannot be read, so nobody knows whether it is there
		}
		if err != nil {
			end.stopped = err
			break
		}
		if err := v.frame(&h, ji.ringOffset(h.position)); err != nil {
			return end, err
		}
		confirmed = max(confirmed, h.confirmed)
		frames = append(frames, b)
		end.frames++
		end.position += uint64(h.blocks())
		end.sequence++
		end.chain = h.sum
		end.lsn = h.first + LSN(h.records) - 1
	}
	if err := ji.lostFrames(&end); err != nil {
		return end, ji.doubt(err)
	}
	for _, b := range frames {
		if err := ji.records(b, confirmed, v); err != nil {
			return end, err
		}
	}
	return end, nil
}

// nextFrame returns the frame at the end of the chain so far.
func (ji *journalImage) nextFrame(end *journalEnd) ([]byte, frameHeader, error) {
	var h frameHeader
	if err := ji.unreadable[ji.ringBlock(end.position)]; err != nil {
		return nil, h, err
	}
	b, err := ji.frameAt(end.position, &h)
	if err != nil {
		return nil, h, err
	}
	// The address first: an old frame with a good checksum is still the wrong one.
	switch {
	case h.position != end.position:
		err = corruptf(40, "journal frame: position", fmt.Sprint(end.position), fmt.Sprint(h.position))
	case h.uuid != ji.tag.uuid:
		err = corruptf(8, "journal frame: uuid", ji.tag.uuid.String(), h.uuid.String())
	case h.session != ji.base.session:
		err = corruptf(24, "journal frame: session", fmt.Sprintf("%#x", ji.base.session), fmt.Sprintf("%#x", h.session))
	case h.sequence != end.sequence:
		err = corruptf(32, "journal frame: sequence", fmt.Sprint(end.sequence), fmt.Sprint(h.sequence))
	case h.chain != end.chain:
		err = corruptf(80, "journal frame: chain", hex64(end.chain), hex64(h.chain))
	case h.first != end.lsn+1:
		err = corruptf(48, "journal frame: first LSN", fmt.Sprint(end.lsn+1), fmt.Sprint(h.first))
	default:
		if err = ji.unreadableIn(&h); err == nil {
			err = h.verify(b)
		}
	}
	return b, h, at(err, ji.device, ji.ringOffset(end.position), "")
}

// frameAt returns the bytes of what may be a frame at a position, its header read. b may be a copy if the frame wraps.
func (ji *journalImage) frameAt(position uint64, h *frameHeader) (b []byte, err error) {
	start := int(position%uint64(ji.file.geo.ring)) * journalBlock
	if err := h.unmarshal(ji.ring[start:]); err != nil {
		return nil, at(err, ji.device, ji.ringOffset(position), "")
	}
	if int64(h.payload) > int64(ji.file.geo.maxFrame()) {
		err := corruptf(76, "journal frame: payload", fmt.Sprintf("at most %d", ji.file.geo.maxFrame()), fmt.Sprint(h.payload))
		return nil, at(err, ji.device, ji.ringOffset(position), "")
	}
	size := h.blocks() * journalBlock
	if start+size <= len(ji.ring) {
		return ji.ring[start : start+size], nil
	}
	b = append(make([]byte, 0, size), ji.ring[start:]...)
	return append(b, ji.ring[:size-len(b)]...), nil
}

// unreadableIn is the error of a block of frame h that cannot be read, if there is one.
func (ji *journalImage) unreadableIn(h *frameHeader) error {
	for i := range h.blocks() {
		if err := ji.unreadable[ji.ringBlock(h.position+uint64(i))]; err != nil {
			return err
		}
	}
	return nil
}

// ringBlock is the block of the ring at a position.
func (ji *journalImage) ringBlock(position uint64) int {
	return int(position % uint64(ji.file.geo.ring))
}

// ringOffset is the byte offset on the device of a ring position.
func (ji *journalImage) ringOffset(position uint64) int64 {
	return ji.file.offset(ji.file.geo.ringBlock() + ji.ringBlock(position))
}

// lostFrames looks for proof that the chain once went on: a later frame which says that a frame at or after the chain's
// end was durable. A crash cannot leave that; a damaged frame can, and so can a damaged header, which hides a session:
// sequences go on from one session to the next, and what an earlier one left beyond its end never says so. Silence
// would mean losing transactions that were acknowledged.
func (ji *journalImage) lostFrames(end *journalEnd) error {
	for i := range ji.file.geo.ring {
		var h frameHeader
		b, err := ji.frameAt(uint64(i), &h)
		if err != nil || h.uuid != ji.tag.uuid {
			continue
		}
		later := h.sequence >= end.sequence && h.durable >= end.sequence
		if !later && !ji.hidden(&h, end) || h.verify(b) != nil {
			continue
		}
		return fmt.Errorf("%w; yet the frame at offset %d says that transactions from %d on were durable",
			end.missing(ji), ji.ringOffset(uint64(i)), end.lsn+1)
	}
	return nil
}

// hidden reports whether frame h goes on with the chain in a session whose header is damaged.
func (ji *journalImage) hidden(h *frameHeader, end *journalEnd) bool {
	return ji.nextHeaderErr() != nil && h.session != ji.base.session &&
		h.position == end.position && h.sequence == end.sequence && h.chain == end.chain
}

// missing is the corruption that ended the chain.
func (end *journalEnd) missing(ji *journalImage) error {
	var c *CorruptError
	if errors.As(end.stopped, &c) {
		return c
	}
	return &CorruptError{Device: ji.device, Offset: ji.ringOffset(end.position), What: "journal frame",
		Expected: fmt.Sprintf("sequence %d", end.sequence), Got: fmt.Sprint(end.stopped)}
}

// records visits the records of one frame that come after the base's checkpoint.
func (ji *journalImage) records(frame []byte, confirmed LSN, v journalVisitor) error {
	var h frameHeader
	if err := h.unmarshal(frame); err != nil {
		return err
	}
	b := frame[frameHeaderSize : frameHeaderSize+int(h.payload)]
	off, lsn := frameHeaderSize, h.first
	for range h.records {
		r, n, err := unmarshalRecord(b)
		if err == nil && r.lsn != lsn {
			err = corruptf(8, "journal record: LSN", fmt.Sprint(lsn), fmt.Sprint(r.lsn))
		}
		if err != nil {
			return at(shift(err, off), ji.device, ji.ringOffset(h.position), "")
		}
		if err := v.record(r, lsn <= confirmed); err != nil {
			return err
		}
		b, off, lsn = b[n:], off+n, lsn+1
	}
	return nil
}
