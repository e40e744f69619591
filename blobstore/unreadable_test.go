package blobstore

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

// unreadable matches reads that touch [off, off+n).
func unreadable(off, n int64) func(r *bdev.Request) bool {
	return func(r *bdev.Request) bool {
		return r.Op == bdev.OpRead && r.Offset < off+n && off < r.Offset+int64(len(r.Buf))
	}
}

// ownerOf is a store with a blob of 4 clusters and a chain of three pages. It was closed, and unless clean is set left
// open once more.
func ownerOf(t *testing.T, dev *bdev.Device, clean bool) (super superblock, st blobState) {
	t.Helper()
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 4)
	tx.SetXattr(id, "x", fill(3000, 1))
	tx.SetXattr(id, "y", fill(3000, 2))
	tx.SetXattr(id, "z", fill(3000, 3))
	commit(t, tx)
	require.NoError(t, s.Close())
	st = *s.blobs.get(id).st
	require.Len(t, st.pages, 3)
	if !clean {
		s, err := Open(dev, OpenOptions{})
		require.NoError(t, err)
		tx := s.Begin()
		tx.SetXattr(tx.Create(), "other", nil)
		require.NoError(t, s.Sync(commit(t, tx)))
		abandon(s)
	}
	return s.super, st
}

// useSpace creates blobs that take clusters and md pages, and closes the store.
func useSpace(t *testing.T, s *Store) {
	t.Helper()
	for range 3 {
		tx := s.Begin()
		id := tx.Create()
		tx.Resize(id, 4)
		for i := range 3 {
			tx.SetXattr(id, string(rune('a'+i)), make([]byte, 3000))
		}
		require.NoError(t, s.Sync(commit(t, tx)))
		b, err := s.Blob(id)
		require.NoError(t, err)
		require.NoError(t, b.Write(make([]byte, 4*s.ClusterSize()), 0))
	}
	require.NoError(t, s.Close())
}

// requireIntact checks that a blob is as it was and shares nothing.
func requireIntact(t *testing.T, dev *bdev.Device, want *blobState) {
	t.Helper()
	require.NoError(t, reopened(dev, func(s *Store) error {
		_, err := s.Blob(want.id)
		if err == nil {
			require.True(t, want.equal(s.blobs.get(want.id).st))
			checkInvariants(t, s)
		}
		return err
	}))
}

// A metadata page that cannot be read for a while costs nothing for good: what its blob owns is known from the masks of a
// clean store, and a dirty one is not written to.
func TestUnreadablePageCostsNothingForGood(t *testing.T) {
	for page := range 3 {
		for _, clean := range []bool{true, false} {
			dev, f := faultyDevice(t, nil)
			super, st := ownerOf(t, dev, clean)
			f.on(unreadable(super.pageOffset(st.pages[page]), 512))
			ro, err := Open(dev, OpenOptions{ReadOnly: true})
			require.NoError(t, err)
			_, err = ro.Blob(st.id)
			require.ErrorIs(t, err, errInjected)
			require.NoError(t, ro.Close())
			s, err := Open(dev, OpenOptions{})
			if clean {
				require.NoError(t, err)
				useSpace(t, s)
			} else {
				require.ErrorIs(t, err, errInjected)
				s, err = Open(dev, OpenOptions{Recover: true})
				require.NoError(t, err)
				useSpace(t, s) // the blob was there at the last close, so the masks still know it
			}
			f.off()
			requireIntact(t, dev, &st)
		}
	}
}

// The same with a page whose checksum is wrong: it stays, to be repaired.
func TestDamagedPageStays(t *testing.T) {
	for page := range 3 {
		for _, clean := range []bool{true, false} {
			dev := mallocDevice(t, 16<<20)
			super, st := ownerOf(t, dev, clean)
			off := super.pageOffset(st.pages[page]) + 700
			flip(t, dev, off)
			s, err := Open(dev, OpenOptions{})
			require.NoError(t, err)
			_, err = s.Blob(st.id)
			require.ErrorIs(t, err, ErrCorrupt)
			useSpace(t, s)
			flip(t, dev, off)
			requireIntact(t, dev, &st)
		}
	}
}

// What a damaged blob takes after the last close is its own too: the journal says so, or what is left of its pages.
func TestDamagedBlobKeepsNewClusters(t *testing.T) {
	for i := range 6 {
		checkpointed, page := i < 3, i%3
		dev := mallocDevice(t, 16<<20)
		super, st := ownerOf(t, dev, true)
		s, err := Open(dev, OpenOptions{})
		require.NoError(t, err)
		tx := s.Begin()
		tx.Resize(st.id, 8)
		require.NoError(t, s.Sync(commit(t, tx)))
		if checkpointed {
			require.NoError(t, s.checkpoint())
		}
		owned := s.blobs.get(st.id).st.extents
		abandon(s)
		flip(t, dev, super.pageOffset(st.pages[page])+2000)
		s, err = Open(dev, OpenOptions{})
		require.NoError(t, err)
		eachCluster(&blobState{extents: owned}, func(c clusterIndex) { require.True(t, s.space.used.test(int(c)), "cluster %d", c) })
		abandon(s)
	}
}

// A journal whose page cannot be read does not get a rival, which recovery would not find later.
func TestUnreadableJournalPage(t *testing.T) {
	for _, clean := range []bool{true, false} {
		dev, f := faultyDevice(t, nil)
		super, st := ownerOf(t, dev, clean)
		f.on(unreadable(super.pageOffset(0), 512))
		for _, o := range []OpenOptions{{}, {Recover: true}} {
			_, err := Open(dev, o)
			require.ErrorIs(t, err, errInjected, "clean %v", clean)
			require.NotErrorIs(t, err, ErrCorrupt, "clean %v: nobody knows", clean)
		}
		f.off()
		requireIntact(t, dev, &st)
	}
}

// A header that cannot be read is not called corrupt either, nor what contradicts the other one.
func TestUnreadableJournalHeader(t *testing.T) {
	dev, f := faultyDevice(t, nil)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	tx.SetXattr(tx.Create(), "x", nil)
	require.NoError(t, s.Sync(commit(t, tx)))
	newest := s.j.file.offset(s.j.header.slot())
	abandon(s)
	f.on(unreadable(newest, 512))
	_, err := Open(dev, OpenOptions{})
	require.ErrorIs(t, err, errInjected)
	require.NotErrorIs(t, err, ErrCorrupt)
	f.off()
	require.NoError(t, reopened(dev, func(s *Store) error {
		require.Len(t, s.IDs(), 2)
		return nil
	}))
}

// A block of the journal that cannot be read keeps a store from being opened only if recovery needs it.
func TestUnreadableJournalBlock(t *testing.T) {
	for _, c := range []struct {
		name  string
		block func(j *journal) int
		dirty bool // whether a dirty store opens
	}{
		{"older header", func(j *journal) int { return 1 - j.header.slot() }, true},
		{"newest header, which the images hold too", func(j *journal) int { return j.header.slot() }, true},
		{"end of the ring", func(j *journal) int { return j.geo.ringBlock() + j.geo.ring - 1 }, true},
		{"next frame", func(j *journal) int { return j.geo.ringBlock() + int(j.position%uint64(j.geo.ring)) }, false},
		{"images", func(j *journal) int { return j.geo.imageBlock() + j.geo.imageHeader }, true},
		{"header of the images", func(j *journal) int { return j.geo.imageBlock() }, false},
	} {
		for _, clean := range []bool{true, false} {
			dev, f := faultyDevice(t, nil)
			s := formatAndOpen(t, dev, FormatOptions{})
			for range 3 {
				tx := s.Begin()
				tx.SetXattr(tx.Create(), "x", nil)
				require.NoError(t, s.Sync(commit(t, tx)))
				require.NoError(t, s.checkpoint())
			}
			tx := s.Begin()
			tx.SetXattr(tx.Create(), "x", nil)
			require.NoError(t, s.Sync(commit(t, tx)))
			off, ids := s.j.file.offset(c.block(s.j)), s.IDs()
			if clean {
				require.NoError(t, s.Close())
			} else {
				abandon(s)
			}
			f.on(unreadable(off, 512))
			for _, readOnly := range []bool{true, false} {
				s, err := Open(dev, OpenOptions{ReadOnly: readOnly})
				if !clean && !c.dirty {
					require.Error(t, err, c.name)
					continue
				}
				require.NoError(t, err, "%s, clean %v", c.name, clean)
				require.Equal(t, ids, s.IDs())
				require.NoError(t, s.Close())
			}
			f.off()
			require.NoError(t, reopened(dev, func(s *Store) error {
				require.Equal(t, ids, s.IDs())
				return nil
			}), c.name)
		}
	}
}

// Vouched bytes that cannot be read: a store opened to read goes without their blob, one opened for writing waits for
// somebody to decide.
func TestUnreadableVouchedBytes(t *testing.T) {
	dev, f := faultyDevice(t, nil)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id, other := tx.Create(), tx.Create()
	tx.Resize(id, 1)
	require.NoError(t, s.Sync(commit(t, tx)))
	b, err := s.Blob(id)
	require.NoError(t, err)
	var io IO
	data := fill(4096, 1)
	b.StartWrite(&io, data, 0)
	tx = s.Begin()
	tx.SetXattrVouched(id, "len", []byte{9}, Vouch{Offset: 0, Length: 4096, Sum: checksumOf(data)})
	require.NoError(t, s.SyncVouched(commit(t, tx), &io))
	off := b.ext.Load().runs[0].dev
	abandon(s)

	f.on(unreadable(off, 512))
	s, err = Open(dev, OpenOptions{ReadOnly: true})
	require.NoError(t, err)
	_, err = s.Blob(id)
	require.ErrorIs(t, err, errInjected)
	_, err = s.Blob(other)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = Open(dev, OpenOptions{})
	require.ErrorIs(t, err, errInjected)
	f.off()
	s, err = Open(dev, OpenOptions{ReadOnly: true})
	require.NoError(t, err)
	st, err := s.Stat(id)
	require.NoError(t, err)
	require.Equal(t, []byte{9}, st.Xattrs["len"], "nothing was decided")
	require.NoError(t, s.Close())

	f.on(unreadable(off, 512))
	s, err = Open(dev, OpenOptions{Recover: true})
	require.NoError(t, err)
	st, err = s.Stat(id)
	require.NoError(t, err)
	require.Empty(t, st.Xattrs)
	closeAndCheck(t, s)
}

// An open for writing that made the journal's page and failed after that may have left it in a cache that forgot to write
// it: the next one writes it again, wherever it finds it.
func TestJournalPageIsWrittenAgain(t *testing.T) {
	dev, f := faultyDevice(t, goldenDisk(t, "bs-basic", 4096))
	super, err := readSuper(dev, legalStates)
	require.NoError(t, err)
	flip(t, dev, super.clusterMask.offset()+maskHeaderSize+2) // masks and blobs differ: the whole region is read
	f.on(func(r *bdev.Request) bool { return r.Op == bdev.OpWrite && r.Offset == 0 })
	_, err = Open(dev, OpenOptions{})
	require.ErrorIs(t, err, errInjected, "the superblock cannot be written")
	f.off()
	ro, err := Open(dev, OpenOptions{ReadOnly: true})
	require.NoError(t, err)
	require.NotZero(t, ro.journalID)
	page := super.pageOffset(ro.journalID.page())
	require.NoError(t, ro.Close())
	written := 0
	f.on(func(r *bdev.Request) bool {
		if r.Op == bdev.OpWrite && r.Offset == page {
			written++
		}
		return false
	})
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, written)
	require.NoError(t, s.Close())
	written = 0
	s, err = Open(dev, OpenOptions{})
	require.NoError(t, err)
	require.Zero(t, written, "never again")
	require.NoError(t, s.Close())
	f.off()
	require.True(t, slices.Contains(s.IDs(), s.journalID))
}
