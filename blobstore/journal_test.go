package blobstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
)

// dirtyDisk is a store that was cut after n synced transactions, long enough for its ring to have wrapped, and the
// value that each transaction gave the blob's attribute.
func dirtyDisk(t *testing.T, n int) (*crashbdev.Disk, BlobID, LSN) {
	t.Helper()
	disk := smallStore(t)
	dev := openDisk(t, disk)
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	tx := s.Begin()
	id := tx.Create()
	lsn := commit(t, tx)
	for i := range n {
		tx := s.Begin()
		tx.SetXattr(id, "i", fmt.Append(nil, i))
		lsn = commit(t, tx)
		require.NoError(t, s.Sync(lsn))
		if i == n-6 {
			s.stopWorker()
			if s.needsCheckpoint() { // the worker may not have got to it: the frames to come stay in the ring
				require.NoError(t, s.checkpoint())
			}
		}
	}
	s.release()
	require.NoError(t, dev.Close())
	return disk, id, lsn
}

// journalIn reads the journal of a dirty store.
func journalIn(t *testing.T, dev *bdev.Device) *journalImage {
	t.Helper()
	super, err := readSuper(dev, legalStates)
	require.NoError(t, err)
	st, tag, err := findJournal(dev, &super)
	require.NoError(t, err)
	ji, err := readJournal(dev, &super, st, tag, newMemory(), true)
	require.NoError(t, err)
	return ji
}

// flip inverts one bit of a device.
func flip(t *testing.T, dev *bdev.Device, off int64) {
	t.Helper()
	b := make([]byte, 4096)
	block := off / 4096 * 4096
	require.NoError(t, dev.Read(b, block))
	b[off-block] ^= 0x10
	require.NoError(t, dev.Write(b, block))
}

// frameOffsets are the places of the frames of a journal's chain.
type frameOffsets struct{ list []int64 }

func (f *frameOffsets) frame(_ *frameHeader, off int64) error {
	f.list = append(f.list, off)
	return nil
}
func (f *frameOffsets) record(record, bool) error { return nil }

// Damage to any frame but the newest is told from a crash and named; damage to the newest looks like a crash and costs
// that frame alone.
func TestDamagedFrames(t *testing.T) {
	disk, id, last := dirtyDisk(t, 200)
	dev := openDisk(t, disk)
	var frames frameOffsets
	_, err := journalIn(t, dev).replay(&frames)
	require.NoError(t, err)
	require.Greater(t, len(frames.list), 3)
	for i, off := range frames.list {
		for _, at := range []int64{0, 4, 8, 24, 32, 40, 48, 56, 64, 72, 76, 80, 88, 100, 120} {
			copied := openDisk(t, disk.Cut(crashbdev.KeepAll, 0))
			flip(t, copied, off+at)
			s, err := Open(copied, OpenOptions{ReadOnly: true})
			switch {
			case i < len(frames.list)-1:
				require.ErrorIs(t, err, ErrCorrupt, "frame %d, byte %d", i, at)
				var c *CorruptError
				require.True(t, errors.As(err, &c))
				require.Equal(t, off, c.Offset/journalBlock*journalBlock)
				_, err = Open(copied, OpenOptions{})
				require.ErrorIs(t, err, ErrCorrupt)
			case err == nil:
				require.GreaterOrEqual(t, s.LastLSN(), last-2)
				st, err := s.Stat(id)
				require.NoError(t, err)
				require.Equal(t, fmt.Append(nil, int(s.LastLSN())-2), st.Xattrs["i"])
			default:
				require.ErrorIs(t, err, ErrCorrupt)
			}
		}
	}
}

// A damaged header slot or image area either does not matter or is named: transactions are never lost silently.
func TestDamagedHeadersAndImages(t *testing.T) {
	disk, id, last := dirtyDisk(t, 200)
	ji := journalIn(t, openDisk(t, disk))
	geo := ji.file.geo
	rng := rand.New(rand.NewPCG(1, 2))
	for block := range geo.ringBlock() {
		for range 40 {
			copied := openDisk(t, disk.Cut(crashbdev.KeepAll, 0))
			flip(t, copied, ji.file.offset(block)+rng.Int64N(600))
			err := reopened(copied, func(s *Store) error {
				require.Equal(t, last, s.LastLSN(), "block %d", block)
				st, err := s.Stat(id)
				require.Equal(t, "199", string(st.Xattrs["i"]))
				return err
			})
			if err != nil {
				require.ErrorIs(t, err, ErrCorrupt)
			}
		}
	}
}

// Both headers gone: an error that names them.
func TestLostHeaders(t *testing.T) {
	disk, _, _ := dirtyDisk(t, 10)
	dev := openDisk(t, disk)
	ji := journalIn(t, dev)
	flip(t, dev, ji.file.offset(0)+8)
	flip(t, dev, ji.file.offset(1)+8)
	_, err := Open(dev, OpenOptions{})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "journal block 0")
	require.ErrorContains(t, err, "journal block 1")
}

// The newest header gone, and with it the session that all newer frames belong to: that is no crash, not even if a single
// frame was written in it.
func TestLostHeaderOfASession(t *testing.T) {
	for n := 1; n < 4; n++ {
		disk, _, _ := dirtyDisk(t, 20)
		dev := openDisk(t, disk)
		require.NoError(t, reopened(dev, func(*Store) error { return nil }))
		s, err := Open(dev, OpenOptions{})
		require.NoError(t, err)
		for range n {
			tx := s.Begin()
			tx.SetXattr(tx.Create(), "x", nil)
			require.NoError(t, s.Sync(commit(t, tx)))
		}
		newest := s.j.file.offset(s.j.header.slot())
		abandon(s)
		flip(t, dev, newest+100)
		_, err = Open(dev, OpenOptions{})
		require.ErrorIs(t, err, ErrCorrupt, "%d frames", n)
		flip(t, dev, newest+100)
		require.NoError(t, reopened(dev, func(*Store) error { return nil }))
	}
}

// The newest header gone while the images of the next checkpoint were being written over its own: the pages in place may
// be those of the lost header, to which the journal must not be applied again.
func TestLostHeaderUnderTornImages(t *testing.T) {
	dev := openDisk(t, smallStore(t))
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	tx := s.Begin()
	id := tx.Create()
	tx.SetXattr(id, "v", []byte("1"))
	commit(t, tx)
	require.NoError(t, s.checkpoint())
	newest := s.j.file.offset(s.j.header.slot())
	image := s.j.file.offset(s.j.geo.imageBlock() + s.j.geo.imageHeader)
	abandon(s)
	flip(t, dev, image+100) // torn by the next checkpoint
	ro, err := Open(dev, OpenOptions{ReadOnly: true})
	require.NoError(t, err, "the header is there")
	require.NoError(t, ro.Close())
	flip(t, dev, newest+100)
	_, err = Open(dev, OpenOptions{})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "journal images")
}

// Images two checkpoints ahead of the newest header: the header between is lost, whether or not they are whole.
func TestImagesAheadOfTheHeaders(t *testing.T) {
	disk, _, _ := dirtyDisk(t, 20)
	dev := openDisk(t, disk)
	ji := journalIn(t, dev)
	b := make([]byte, journalBlock)
	(&imageHeader{uuid: ji.tag.uuid, generation: ji.base.generation + 2, count: 1}).marshal(b)
	require.NoError(t, dev.Write(b, ji.file.offset(ji.file.geo.imageBlock())))
	_, err := Open(dev, OpenOptions{})
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "a header is lost")
}

// A journal of a newer program is left alone also where it holds nothing; what its features allow is reading.
func TestNewerJournal(t *testing.T) {
	for _, c := range []struct {
		name     string
		off      int // in the tag
		v        byte
		readable bool
	}{
		{"version", 0, 2, false}, {"invalid feature", 4, 1, false}, {"data feature", 12, 1, true}, {"metadata feature", 20, 1, true},
	} {
		dev := openDisk(t, smallStore(t))
		s, err := Open(dev, OpenOptions{})
		require.NoError(t, err)
		tx := s.Begin()
		tx.SetXattr(tx.Create(), "n", []byte{1})
		commit(t, tx)
		require.NoError(t, s.Close())
		st := s.blobs.get(s.journalID).st.clone()
		v, _ := st.xattrs.get(journalXattr)
		v = bytes.Clone(v)
		v[c.off] = c.v
		st.xattrs.set(journalXattr, v)
		pages, err := st.encode(noMorePages)
		require.NoError(t, err)
		require.NoError(t, dev.Write(pages[0].data, s.super.pageOffset(0)))
		before := contentOf(t, dev)
		_, err = Open(dev, OpenOptions{})
		require.ErrorIs(t, err, ErrNewerVersion, c.name)
		ro, err := Open(dev, OpenOptions{ReadOnly: true})
		if c.readable {
			require.NoError(t, err, c.name)
			require.Equal(t, s.IDs(), ro.IDs())
			require.NoError(t, ro.Close())
		} else {
			require.ErrorIs(t, err, ErrNewerVersion, c.name)
		}
		require.True(t, bytes.Equal(before, contentOf(t, dev)), c.name)
	}
}

// A header of a newer version is not damage that may be repaired.
func TestNewerJournalHeader(t *testing.T) {
	disk, _, _ := dirtyDisk(t, 20)
	dev := openDisk(t, disk)
	require.NoError(t, reopened(dev, func(*Store) error { return nil }))
	ji := journalIn(t, dev)
	for slot := range journalSlots {
		dev := openDisk(t, disk.Cut(crashbdev.KeepAll, 0))
		b := make([]byte, journalBlock)
		ji.headers[slot].marshal(b)
		binary.LittleEndian.PutUint32(b[8:], journalVersion+1)
		binary.LittleEndian.PutUint32(b[journalSumOffset:], crc32.Checksum(b[:journalSumOffset], castagnoli))
		require.NoError(t, dev.Write(b, ji.file.offset(slot)))
		_, err := Open(dev, OpenOptions{})
		require.ErrorIs(t, err, ErrNewerVersion)
	}
}

// contentOf is all that a device holds.
func contentOf(t *testing.T, dev *bdev.Device) []byte {
	t.Helper()
	b := make([]byte, dev.Size())
	for off := 0; off < len(b); off += 1 << 20 {
		require.NoError(t, dev.Read(b[off:min(off+1<<20, len(b))], int64(off)))
	}
	return b
}

// After a clean close the journal holds nothing, so damage to all of it is repaired in passing.
func TestDamagedJournalOfACleanStore(t *testing.T) {
	disk, id, last := dirtyDisk(t, 50)
	dev := openDisk(t, disk)
	require.NoError(t, reopened(dev, func(*Store) error { return nil }))
	ji := journalIn(t, dev)
	for block := range ji.file.geo.ringBlock() {
		flip(t, dev, ji.file.offset(block)+20)
	}
	for range 2 {
		require.NoError(t, reopened(dev, func(s *Store) error {
			st, err := s.Stat(id)
			require.Equal(t, "49", string(st.Xattrs["i"]))
			return err
		}))
	}
	_ = last
}

// A frame whose checksum is good counts only in its place: its session, position, sequence, predecessor and first
// transaction all have to be the next ones.
func TestFramesFromElsewhereDoNotCount(t *testing.T) {
	disk, id, last := dirtyDisk(t, 6)
	dev := openDisk(t, disk)
	ji := journalIn(t, dev)
	end, err := ji.replay(&frameOffsets{})
	require.NoError(t, err)
	rec := appendRecord(nil, []journalOp{{kind: opDelete, id: id}})
	stampRecord(rec, last+1)
	next := frameHeader{
		uuid: ji.tag.uuid, session: ji.base.session, sequence: end.sequence, position: end.position,
		first: last + 1, records: 1, payload: uint32(len(rec)), chain: end.chain,
	}
	open := func(h frameHeader) *Store {
		b := make([]byte, journalBlock)
		copy(b[frameHeaderSize:], rec)
		require.NoError(t, ji.file.writeRing(h.seal(b), end.position))
		s, err := Open(dev, OpenOptions{ReadOnly: true})
		require.NoError(t, err)
		return s
	}
	for what, change := range map[string]func(h *frameHeader){
		"uuid":     func(h *frameHeader) { h.uuid[0]++ },
		"session":  func(h *frameHeader) { h.session++ },
		"sequence": func(h *frameHeader) { h.sequence++ },
		"position": func(h *frameHeader) { h.position += uint64(ji.file.geo.ring) },
		"chain":    func(h *frameHeader) { h.chain++ },
		"first":    func(h *frameHeader) { h.first++ },
	} {
		h := next
		change(&h)
		require.Equal(t, last, open(h).LastLSN(), what)
	}
	s := open(next)
	require.Equal(t, last+1, s.LastLSN())
	_, err = s.Stat(id)
	require.ErrorIs(t, err, ErrNotFound)
}

func TestDumpJournal(t *testing.T) {
	disk, _, _ := dirtyDisk(t, 6)
	var out bytes.Buffer
	require.NoError(t, DumpJournal(&out, openDisk(t, disk)))
	for _, want := range []string{"journal: blob 0x100000000", "header 0: generation", "frame ", `set xattr blob 0x100000001 "i"`, "end: transaction 7"} {
		require.Contains(t, out.String(), want)
	}
	require.Equal(t, 6, strings.Count(out.String(), "\nframe "), out.String())
}

// A transaction that cannot fit is refused before anything changes; one that fits the ring is never refused for good.
func TestLargeTransactions(t *testing.T) {
	dev := openDisk(t, smallStore(t))
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	tx := s.Begin()
	id := tx.Create()
	for i := range 20 {
		tx.SetXattr(id, fmt.Sprint(i), make([]byte, 4000))
	}
	_, err = tx.Commit()
	require.ErrorIs(t, err, ErrTooLarge)
	for i := range 100 {
		tx := s.Begin()
		id := tx.Create()
		for k := range 8 {
			tx.SetXattr(id, fmt.Sprint(k), make([]byte, 4000))
		}
		commit(t, tx)
		tx = s.Begin()
		tx.Delete(id)
		commit(t, tx)
		_ = i
	}
	closeAndCheck(t, s)
}

// Metadata pages run out with ErrNoSpace, and come back.
func TestMetadataPagesRunOut(t *testing.T) {
	dev := openDisk(t, smallStore(t))
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	var ids []BlobID
	for {
		tx := s.Begin()
		id := tx.Create()
		for k := range 3 {
			tx.SetXattr(id, fmt.Sprint(k), make([]byte, 4000))
		}
		if _, err := tx.Commit(); err != nil {
			require.ErrorIs(t, err, ErrNoSpace)
			break
		}
		ids = append(ids, id)
	}
	require.Len(t, ids, 21, "of 64 pages one is the journal's, each blob takes three")
	checkInvariants(t, s)
	require.NoError(t, s.checkpoint())
	for _, id := range ids[:5] {
		tx := s.Begin()
		tx.Delete(id)
		commit(t, tx)
	}
	tx := s.Begin()
	for range 5 {
		tx.SetXattr(tx.Create(), "x", nil)
	}
	commit(t, tx)
	closeAndCheck(t, s)
}

func FuzzRecord(f *testing.F) {
	f.Add(appendRecord(nil, []journalOp{
		{kind: opCreate, id: blobIDOf(1)},
		{kind: opExtend, id: blobIDOf(1), runs: []extent{{5, 2}, {9, 1}}},
		{kind: opSetVouched, id: blobIDOf(1), name: "n", value: []byte("v"), vouch: Vouch{1, 2, 3}},
		{kind: opTruncate, id: blobIDOf(1), clusters: 1}, {kind: opRemoveXattr, id: blobIDOf(1), name: "n"},
		{kind: opDelete, id: blobIDOf(1)},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := unmarshalRecord(b)
		if err != nil {
			return
		}
		again := appendRecord(nil, r.ops)
		stampRecord(again, r.lsn)
		r2, _, err := unmarshalRecord(again)
		require.NoError(t, err)
		require.Equal(t, r, r2)
		require.LessOrEqual(t, n, len(b))
	})
}

func FuzzJournalHeaders(f *testing.F) {
	u := newUUID()
	b := make([]byte, journalBlock)
	(&journalHeader{uuid: u, generation: 5, sequence: 1, blocks: 64}).marshal(b)
	f.Add(b[:journalSectorSize])
	(&imageHeader{uuid: u, generation: 5, count: 3}).marshal(b)
	f.Add(b[:journalSectorSize])
	f.Add((&frameHeader{uuid: u}).seal(b))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h journalHeader
		if h.unmarshal(b, u) == nil {
			_ = h.validate(geometryOf(64), 64)
		}
		var i imageHeader
		_ = i.unmarshal(b, u)
		var fh frameHeader
		if fh.unmarshal(b) == nil && int(fh.payload) <= len(b)-frameHeaderSize {
			_ = fh.verify(b)
		}
		var tag journalTag
		_ = tag.unmarshal(b, 0)
	})
}

func TestJournalCodecs(t *testing.T) {
	u := newUUID()
	h := journalHeader{uuid: u, generation: 7, session: 8, checkpoint: 9, start: 10, sequence: 11, chain: 12, highWater: 13, blocks: 64, closed: true}
	b := make([]byte, journalBlock)
	h.marshal(b)
	var h2 journalHeader
	require.NoError(t, h2.unmarshal(b, u))
	require.Equal(t, h, h2)
	require.ErrorIs(t, h2.unmarshal(b, newUUID()), ErrCorrupt)
	tag := journalTag{uuid: u, page: 3}
	var tag2 journalTag
	require.NoError(t, tag2.unmarshal(tag.marshal(), 3))
	require.Equal(t, tag, tag2)
	require.ErrorIs(t, tag2.unmarshal(tag.marshal(), 4), ErrCorrupt, "a copy on another page")
	tag.mdRO = 1
	require.ErrorIs(t, tag2.unmarshal(tag.marshal(), 3), ErrNewerVersion)
}

func TestGeometry(t *testing.T) {
	for n := minJournalBlocks; n < 20000; n += 37 {
		g := geometryOf(n)
		require.Equal(t, n, g.ringBlock()+g.ring)
		require.GreaterOrEqual(t, g.imageHeader*journalBlock, imageListOffset+g.images*imageEntrySize)
		require.Greater(t, g.ring, 4*ringSlack)
		require.GreaterOrEqual(t, g.ring*journalBlock, 4*g.maxFrame())
		require.Greater(t, g.maxFrame()/journalBlock, 1)
	}
}
