package blobstore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// A checkpoint moves the metadata on the device from the state of one transaction to that of another:
//
//  1. under the locks: note the dirty blobs' states as of transaction C, give their chains page numbers, and write the
//     records up to C that are still pending, so that C falls between two frames
//  2. wait until the data of every voucher up to C is written; flush, if any of them is not confirmed: the images
//     will show what these vouchers cover, and no record will be left to verify
//  3. write the images of all pages that change into the journal's image area, flush: the checkpoint is complete
//  4. write the pages in place, flush
//  5. write the next header, which lets redo begin after C, flush: the ring before C is free
//
// Until 3 is complete recovery uses the old state and the whole ring; from then on the images and what follows C.

// dirtyBlob is a blob id whose pages on the device are out of date.
type dirtyBlob struct {
	onDisk []pageIndex // pages that held the id's blob as of the newest checkpoint
	cost   int         // pages that the next checkpoint writes for it, at most
}

// dirtyLimit is how many md pages may be dirty, those of a checkpoint under way included. The rest of the image area
// is for the zero pages that a higher high-water mark may need.
func (s *Store) dirtyLimit() int { return s.j.geo.images * 7 / 8 }

// costAfter is what the blob of a change costs the next checkpoint, in md pages: so far, and with the change.
func (s *Store) costAfter(c *change) (before, after int) {
	onDisk := 0
	if d := s.dirty[c.st.id]; d != nil {
		before, onDisk = d.cost, len(d.onDisk)
	} else if c.blob != nil {
		onDisk = c.blob.st.heldPages()
	}
	after = onDisk
	if !c.deleted {
		after += c.need
		if onDisk > 0 {
			after-- // the root page is both
		}
	}
	return before, max(1, after)
}

func (s *Store) dirtyDelta(c *change) int {
	before, after := s.costAfter(c)
	return after - before
}

// markDirty notes that a change will have to be written. The caller holds mu and has not installed the change yet.
func (s *Store) markDirty(c *change) {
	before, after := s.costAfter(c)
	d := s.dirty[c.st.id]
	if d == nil {
		d = &dirtyBlob{}
		if c.blob != nil {
			d.onDisk = slices.Collect(c.blob.st.allPages())
		}
		s.dirty[c.st.id] = d
	}
	d.cost = after
	s.dirtyCost += after - before
}

// askCheckpoint has the worker make a checkpoint. The caller holds mu.
func (s *Store) askCheckpoint() {
	if !s.wantCheckpoint {
		s.wantCheckpoint = true
		s.kick()
	}
}

// checkpointState is a checkpoint under way.
type checkpointState struct {
	lsn    LSN
	header journalHeader // the one that completes it
	dirty  map[BlobID]*dirtyBlob
	blobs  []blobState // what is written, pages assigned
	images []mdPage    // ascending
}

// checkpoint makes one. Commits go on meanwhile; the caller holds no lock.
func (s *Store) checkpoint() error {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	c, err := s.snapshot()
	if err != nil {
		return err
	}
	if err := c.encode(int(s.j.header.highWater)); err != nil {
		return s.failed(err)
	}
	if len(c.images) > s.j.geo.images {
		return s.failed(fmt.Errorf("%s: checkpoint of %d pages, the journal takes %d", s.dev.Name(), len(c.images), s.j.geo.images))
	}
	if err := s.writeCheckpoint(c); err != nil {
		return s.failed(err)
	}
	s.finishCheckpoint(c)
	return nil
}

// failed makes the store read-only unless it is already.
func (s *Store) failed(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failure := s.Err(); failure != nil {
		return failure
	}
	return s.fail(err)
}

// snapshot carries out steps 1 and 2. If the data of a voucher it includes fails, the change was set back by then
// and the snapshot is taken again.
func (s *Store) snapshot() (*checkpointState, error) {
	for {
		c, err := s.freeze()
		if err != nil {
			return nil, err
		}
		ok, confirmed, err := s.awaitVouchers(c)
		if err == nil && ok && !confirmed {
			err = s.flush()
		}
		if err != nil || ok {
			return c, err
		}
	}
}

// freeze is step 1.
func (s *Store) freeze() (*checkpointState, error) {
	s.j.writing.Lock()
	defer s.j.writing.Unlock()
	s.mu.Lock()
	if err := s.Err(); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	c := &checkpointState{lsn: s.lastLocked(), dirty: s.dirty}
	s.dirty, s.inflightCost, s.dirtyCost = make(map[BlobID]*dirtyBlob), s.dirtyCost, 0
	s.assignPages(c)
	var f sealedFrame
	if s.j.pending.records > 0 {
		f = s.sealFrame()
	}
	j := s.j
	c.header = journalHeader{
		uuid: j.uuid, generation: j.header.generation + 1, session: j.session, checkpoint: c.lsn,
		start: j.position, sequence: j.sequence, chain: j.chain, highWater: s.highWater, blocks: uint32(j.geo.blocks),
	}
	s.mu.Unlock()
	if f.bytes != nil {
		return c, s.writeFrame(&f)
	}
	return c, nil
}

// assignPages gives every dirty blob the md pages its state takes, lowest first, and copies the states: nobody changes
// in place what they share. Pages are only ever written by checkpoints, which are atomic, so a page may pass from one
// blob to another at once. The caller holds mu.
func (s *Store) assignPages(c *checkpointState) {
	var list []*Blob
	for id := range c.dirty {
		if b := s.blobs.get(id); b != nil {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b *Blob) int { return cmp.Compare(a.id, b.id) })
	for _, b := range list {
		for _, p := range b.st.pages[min(1, len(b.st.pages)):] {
			s.pages.clear(int(p))
		}
		for _, p := range b.st.extentPages {
			s.pages.clear(int(p))
		}
		s.owed -= b.owed()
	}
	next := 0
	for _, b := range list {
		pages := []pageIndex{b.id.page()}
		for len(pages) < b.need {
			next = s.pages.nextClear(next) // there is one: checkPages saw to it
			s.pages.set(next)
			pages = append(pages, pageIndex(next))
		}
		b.st.pages, b.st.extentPages = pages, nil
		b.st.flags.invalid &^= flagExtentTable
		c.blobs = append(c.blobs, *b.st)
		s.highWater = max(s.highWater, uint32(slices.Max(pages))+1)
	}
}

// thaw takes a snapshot back that is not going to be written. The caller holds mu.
func (s *Store) thaw(c *checkpointState) {
	s.inflightCost = 0
	for id, d := range c.dirty {
		s.dirtyCost += d.cost
		if newer := s.dirty[id]; newer != nil {
			d.onDisk = append(d.onDisk, newer.onDisk...)
			d.cost += newer.cost
		}
		s.dirty[id] = d
	}
}

// awaitVouchers waits for the data of all vouchers up to C. ok is false if one failed and was set back after C: the
// snapshot shows what it must not show and is taken back. The vouchers themselves do not tell: a flush may have ended
// them by now.
func (s *Store) awaitVouchers(c *checkpointState) (ok, confirmed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.setBackLSN > c.lsn {
			s.thaw(c)
			return false, false, nil
		}
		wait := false
		confirmed = true
		for _, v := range s.vouchers {
			if v.lsn > c.lsn {
				break
			}
			wait = wait || !v.done
			confirmed = confirmed && s.confirmed >= v.lsn
		}
		if err := s.Err(); err != nil {
			return false, false, err
		}
		if !wait {
			return true, confirmed, nil
		}
		s.changed.Wait()
	}
}

// encode makes the images: every page of the blobs that are left, zeros for pages that are given up, and zeros for
// pages that a higher high-water mark lets recovery read although nothing was ever written there.
func (c *checkpointState) encode(oldHighWater int) error {
	images := make(map[pageIndex][]byte)
	for p := oldHighWater; p < int(c.header.highWater); p++ {
		images[pageIndex(p)] = zeroPage
	}
	for _, d := range c.dirty {
		for _, p := range d.onDisk {
			images[p] = zeroPage
		}
	}
	for i := range c.blobs {
		st := &c.blobs[i]
		rest := st.pages[1:]
		pages, err := st.encode(func() (pageIndex, error) {
			if len(rest) == 0 {
				return 0, fmt.Errorf("blob %v takes more md pages than foreseen", st.id)
			}
			p := rest[0]
			rest = rest[1:]
			return p, nil
		})
		if err != nil {
			return err
		}
		for _, p := range pages {
			images[p.index] = p.data
		}
	}
	for p, data := range images {
		c.images = append(c.images, mdPage{p, data})
	}
	slices.SortFunc(c.images, func(a, b mdPage) int { return cmp.Compare(a.index, b.index) })
	return nil
}

// writeCheckpoint carries out steps 3 to 5. Without images there is only the header to write.
func (s *Store) writeCheckpoint(c *checkpointState) error {
	if len(c.images) > 0 {
		if err := s.writeImages(c); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
		if err := s.writePages(c.images); err != nil {
			return err
		}
	}
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.j.file.writeHeader(&c.header); err != nil {
		return err
	}
	return s.flush()
}

// finishCheckpoint frees the ring before the checkpoint. The images have confirmed every voucher up to C.
func (s *Store) finishCheckpoint(c *checkpointState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.j.header = c.header
	s.j.start = c.header.start
	s.confirmedDurably(c.lsn)
	s.confirmed = max(s.confirmed, c.lsn)
	s.vouchers = slices.DeleteFunc(s.vouchers, func(v *voucher) bool { return v.done && v.lsn <= s.confirmed })
	s.inflightCost = 0
	s.changed.Broadcast()
}

// writeImages fills the image area.
func (s *Store) writeImages(c *checkpointState) error {
	geo := s.j.geo
	head := s.mem.Get(geo.imageHeader * journalBlock)
	defer s.mem.Put(head)
	clear(head)
	embedded := make([]byte, journalBlock)
	c.header.marshal(embedded)
	copy(head[imageEmbedOffset:], embedded[:journalSectorSize])
	list := head[imageListOffset:]
	for i, p := range c.images {
		binary.LittleEndian.PutUint64(list[i*imageEntrySize:], uint64(s.super.md.start)+uint64(p.index))
	}
	var sum Checksum
	sum.Add(head[imageEmbedOffset : imageListOffset+len(c.images)*imageEntrySize])
	for _, p := range c.images {
		sum.Add(p.data)
	}
	h := imageHeader{uuid: s.j.uuid, generation: c.header.generation, count: uint32(len(c.images)), sum: sum.Sum()}
	h.marshal(head)
	if err := s.j.file.write(head, geo.imageBlock()); err != nil {
		return err
	}
	first := geo.imageBlock() + geo.imageHeader
	return gather(s.mem, c.images, func(i int, b []byte) error { return s.j.file.write(b, first+i) })
}

// gatherPages is how many pages one write of gather covers.
const gatherPages = 64

// gather copies images into device memory, up to gatherPages at a time, and has each part written; i is the index of
// its first image.
func gather(mem *dmabuf.Pool, images []mdPage, write func(i int, b []byte) error) error {
	buf := mem.Get(gatherPages * pageSize)
	defer mem.Put(buf)
	for i := 0; i < len(images); i += gatherPages {
		n := min(gatherPages, len(images)-i)
		for k := range n {
			copy(buf[k*pageSize:], images[i+k].data)
		}
		if err := write(i, buf[:n*pageSize]); err != nil {
			return err
		}
	}
	return nil
}

// writePages puts images where they belong, neighbours together.
func (s *Store) writePages(images []mdPage) error {
	return gather(s.mem, images, func(i int, b []byte) error {
		var batch ioBatch
		n := len(b) / pageSize
		for k := 0; k < n; {
			end := k + 1
			for end < n && images[i+end].index == images[i+end-1].index+1 {
				end++
			}
			batch.start(s.dev, bdev.OpWrite, b[k*pageSize:end*pageSize], s.super.pageOffset(images[i+k].index))
			k = end
		}
		return batch.wait(s.dev)
	})
}
