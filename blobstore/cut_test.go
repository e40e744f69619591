package blobstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
)

// smallStore is a formatted crash disk of 8 MiB.
func smallStore(t testing.TB) *crashbdev.Disk {
	t.Helper()
	disk := crashbdev.New(crashbdev.Options{Size: 8 << 20})
	dev := openDisk(t, disk)
	require.NoError(t, Format(dev, FormatOptions{ClusterSize: 65536, MDPages: 64, JournalSize: 256 << 10}))
	require.NoError(t, dev.Close())
	return disk
}

func openDisk(t testing.TB, disk *crashbdev.Disk) *bdev.Device {
	t.Helper()
	dev, err := disk.Open("crash:test")
	require.NoError(t, err)
	t.Cleanup(func() { _ = dev.Close() })
	return dev
}

// eachCut carries out action on copies of the disk, each losing power at another of its operations, and verifies
// states in which the media may be left.
func eachCut(t *testing.T, base *crashbdev.Disk, action func(dev *bdev.Device), verify func(dev *bdev.Device) error) {
	t.Helper()
	for n := int64(1); ; n++ {
		disk := base.Cut(crashbdev.KeepAll, 0)
		disk.CutAfter(n)
		dev := openDisk(t, disk)
		action(dev)
		died := disk.PoweredOff()
		_ = dev.Close()
		for seed := range uint64(12) {
			mode := crashbdev.Random
			if int(seed) < len(crashbdev.Modes()) {
				mode = crashbdev.Modes()[seed]
			}
			left := openDisk(t, disk.Cut(mode, seed))
			require.NoError(t, verify(left), "power cut at operation %d, mode %v, seed %d", n, mode, seed)
			require.NoError(t, left.Close())
		}
		if !died {
			return
		}
	}
}

// reopened opens a store, which has to succeed, hands it to f and closes it.
func reopened(dev *bdev.Device, f func(s *Store) error) error {
	s, err := Open(dev, OpenOptions{})
	if err != nil {
		return err
	}
	if err := f(s); err != nil {
		abandon(s)
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	r, err := Check(dev, CheckOptions{})
	if err == nil && !r.OK() {
		err = fmt.Errorf("check: %+v", r.Findings)
	}
	return err
}

// A checkpoint shows a vouched length and leaves no record to verify, so the bytes must be durable before its images.
func TestCheckpointWaitsForVouchedBytes(t *testing.T) {
	base := smallStore(t)
	dev := openDisk(t, base)
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 1)
	tx.SetXattr(id, "len", lengthValue(0))
	commit(t, tx)
	require.NoError(t, s.Close())
	data := fill(8192, 3)
	eachCut(t, base, func(dev *bdev.Device) {
		s, err := Open(dev, OpenOptions{})
		if err != nil {
			return
		}
		defer abandon(s)
		b, err := s.Blob(id)
		require.NoError(t, err)
		var io IO
		b.StartWrite(&io, data, 0)
		tx := s.Begin()
		tx.SetXattrVouched(id, "len", lengthValue(8192), Vouch{0, 8192, checksumOf(data)})
		lsn, err := tx.Commit()
		if err != nil || s.writeUpTo(lsn) != nil || io.Wait() != nil {
			_ = io.Wait()
			return
		}
		s.dataDone(lsn, nil)
		_ = s.checkpoint()
	}, func(dev *bdev.Device) error {
		return reopened(dev, func(s *Store) error {
			b, err := s.Blob(id)
			if err != nil {
				return err
			}
			v, _ := b.Xattr("len")
			n := int64(binary.LittleEndian.Uint64(v))
			got := make([]byte, n)
			if err := b.Read(got, 0); err != nil {
				return err
			}
			if n > 0 && checksumOf(got) != checksumOf(data) {
				return fmt.Errorf("length %d without its bytes", n)
			}
			return nil
		})
	})
}

// A voucher whose bytes are not there voids its own change alone: the rest of the transaction and all that follow apply.
func TestVoidedVoucherKeepsTheRest(t *testing.T) {
	base := smallStore(t)
	dev := openDisk(t, base)
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	tx := s.Begin()
	id, other := tx.Create(), tx.Create()
	tx.Resize(id, 1)
	tx.SetXattr(id, "len", []byte("old"))
	require.NoError(t, s.Sync(commit(t, tx)))
	tx = s.Begin()
	tx.SetXattr(other, "before", nil)
	tx.SetXattrVouched(id, "len", []byte("new"), Vouch{0, 4096, checksumOf(fill(4096, 1))}) // which nobody writes
	tx.SetXattr(id, "same blob", nil)
	tx.Resize(other, 2)
	commit(t, tx)
	tx = s.Begin()
	tx.SetXattr(id, "later", nil)
	lsn := commit(t, tx)
	require.NoError(t, s.Sync(lsn))
	abandon(s)
	require.NoError(t, reopened(dev, func(s *Store) error {
		require.Equal(t, lsn, s.LastLSN())
		a, err := s.Stat(id)
		require.NoError(t, err)
		require.Equal(t, map[string][]byte{"len": []byte("old"), "same blob": nil, "later": nil}, a.Xattrs)
		b, err := s.Stat(other)
		require.NoError(t, err)
		require.Contains(t, b.Xattrs, "before")
		require.EqualValues(t, 2, b.Clusters)
		return nil
	}))
}

// A blob created while a checkpoint is under way may get a page that the checkpoint on the device still gives to the
// chain of another blob.
func TestRootOnFormerChainPage(t *testing.T) {
	disk := smallStore(t)
	dev := openDisk(t, disk)
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	tx := s.Begin()
	long := tx.Create()
	for i := range 3 {
		tx.SetXattr(long, fmt.Sprint("x", i), fill(3000, uint64(i)))
	}
	commit(t, tx)
	require.NoError(t, s.checkpoint())
	st, err := s.Stat(long)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3}, st.Pages)
	tx = s.Begin()
	tx.RemoveXattr(long, "x1")
	tx.RemoveXattr(long, "x2")
	commit(t, tx)
	_, err = s.freeze()
	require.NoError(t, err)
	tx = s.Begin()
	id := tx.Create()
	require.Equal(t, blobIDOf(2), id)
	tx.SetXattr(id, "who", []byte("new"))
	require.NoError(t, s.Sync(commit(t, tx)))
	abandon(s)
	for range 2 {
		require.NoError(t, reopened(dev, func(s *Store) error {
			checkInvariants(t, s)
			a, err := s.Stat(long)
			require.NoError(t, err)
			require.Len(t, a.Xattrs, 1)
			b, err := s.Stat(id)
			require.NoError(t, err)
			require.Equal(t, "new", string(b.Xattrs["who"]))
			return nil
		}))
	}
}

// The same with a page that SPDK used for the blob's extents: when it is a root, it is no longer the other blob's to
// give up.
func TestRootOnFormerExtentPage(t *testing.T) {
	s := formatAndOpen(t, mallocDevice(t, 16<<20), FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 1)
	require.NoError(t, s.Sync(commit(t, tx)))
	require.NoError(t, s.checkpoint())
	defer abandon(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.blobs.get(id)
	st := *b.st
	st.extentPages = []pageIndex{7} // as SPDK wrote it: the state that redo starts from
	s.owed -= b.owed()
	b.st = &st
	s.owed += b.owed()
	s.pages.set(7)
	r := redo{store: s}
	// Before the crash a checkpoint that was cut short moved the blob off page 7, and another blob was created there.
	require.NoError(t, r.record(record{lsn: 100, ops: []journalOp{{kind: opSetXattr, id: id, name: "a", value: []byte{1}}}}, true))
	require.NoError(t, r.record(record{lsn: 101, ops: []journalOp{{kind: opCreate, id: blobIDOf(7)}}}, true))
	c := &checkpointState{dirty: s.dirty}
	s.assignPages(c)
	require.True(t, s.pages.test(7))
	for _, b := range c.blobs {
		require.Equal(t, []pageIndex{b.id.page()}, b.pages)
	}
}

func clustersOfBlob(t *testing.T, s *Store, id BlobID) []Extent {
	st, err := s.Stat(id)
	require.NoError(t, err)
	return st.Extents
}

// Clusters that a transaction gave up are not used again before it is durable, and before I/O on them is done.
func TestFreedClustersWait(t *testing.T) {
	dev := mallocDevice(t, 8<<20)
	s := formatAndOpen(t, dev, FormatOptions{ClusterSize: 65536})
	create := func() BlobID {
		tx := s.Begin()
		id := tx.Create()
		tx.Resize(id, 1)
		commit(t, tx)
		return id
	}
	a := create()
	where := clustersOfBlob(t, s, a)[0].Physical
	tx := s.Begin()
	tx.Delete(a)
	lsn := commit(t, tx)
	require.NoError(t, s.SyncData()) // a flush that does not cover the deletion
	require.NotEqual(t, where, clustersOfBlob(t, s, create())[0].Physical, "not durable yet")
	require.NoError(t, s.Sync(lsn))
	b := create()
	require.Equal(t, where, clustersOfBlob(t, s, b)[0].Physical)

	blob, err := s.Blob(b)
	require.NoError(t, err)
	m := blob.acquire() // a read under way
	tx = s.Begin()
	tx.Delete(b)
	require.NoError(t, s.Sync(commit(t, tx)))
	require.NotEqual(t, where, clustersOfBlob(t, s, create())[0].Physical, "I/O under way")
	blob.release(m)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.space.pending) == 0
	}, 5*time.Second, time.Millisecond)
	require.Equal(t, where, clustersOfBlob(t, s, create())[0].Physical)
	closeAndCheck(t, s)
}

// A full store uses what pending deletions free without being told to sync.
func TestNoSpaceReclaims(t *testing.T) {
	dev := mallocDevice(t, 8<<20)
	s := formatAndOpen(t, dev, FormatOptions{ClusterSize: 65536})
	free := s.FreeClusters()
	tx := s.Begin()
	a := tx.Create()
	tx.Resize(a, free)
	commit(t, tx)
	require.Zero(t, s.FreeClusters())
	tx = s.Begin()
	b := tx.Create()
	tx.Resize(b, 1)
	_, err := tx.Commit()
	require.ErrorIs(t, err, ErrNoSpace)
	tx = s.Begin()
	tx.Resize(a, 10)
	commit(t, tx)
	tx = s.Begin()
	b = tx.Create()
	tx.Resize(b, free-10)
	commit(t, tx)
	closeAndCheck(t, s)
}

// What is freed while the store makes frees durable counts, also if it is not all that waits.
func TestReclaimBesideABusyBlob(t *testing.T) {
	s := formatAndOpen(t, mallocDevice(t, 8<<20), FormatOptions{ClusterSize: 65536})
	total := s.FreeClusters()
	tx := s.Begin()
	a, b := tx.Create(), tx.Create()
	tx.Resize(a, 4)
	tx.Resize(b, total-4)
	require.NoError(t, s.Sync(commit(t, tx)))
	busy, err := s.Blob(a)
	require.NoError(t, err)
	m := busy.acquire() // a read under way
	for _, id := range []BlobID{a, b} {
		tx = s.Begin()
		tx.Delete(id)
		commit(t, tx)
	}
	tx = s.Begin()
	tx.Resize(tx.Create(), 10)
	commit(t, tx)
	busy.release(m)
	closeAndCheck(t, s)
}

// Recovery that is itself cut: completing a checkpoint whose images are whole but not in place.
func TestCutWhileCompletingACheckpoint(t *testing.T) {
	disk := smallStore(t)
	dev := openDisk(t, disk)
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	var ids []BlobID
	for i := range 6 {
		tx := s.Begin()
		id := tx.Create()
		tx.SetXattr(id, "v", []byte{byte(i)})
		commit(t, tx)
		ids = append(ids, id)
	}
	require.NoError(t, s.checkpoint())
	for i, id := range ids {
		tx := s.Begin()
		tx.SetXattr(id, "v", []byte{byte(100 + i)})
		commit(t, tx)
	}
	c, err := s.snapshot()
	require.NoError(t, err)
	require.NoError(t, c.encode(int(s.j.header.highWater)))
	require.NoError(t, s.writeImages(c))
	require.NoError(t, s.flush())
	last := s.LastLSN()
	abandon(s)
	require.NoError(t, dev.Close())

	eachCut(t, disk, func(dev *bdev.Device) {
		if s, err := Open(dev, OpenOptions{}); err == nil {
			abandon(s)
		}
	}, func(dev *bdev.Device) error {
		return reopened(dev, func(s *Store) error {
			if s.LastLSN() != last {
				return fmt.Errorf("transaction %d, want %d", s.LastLSN(), last)
			}
			for i, id := range ids {
				st, err := s.Stat(id)
				if err != nil || st.Refused != nil || st.Xattrs["v"][0] != byte(100+i) {
					return fmt.Errorf("blob %v: %+v %v", id, st, err)
				}
			}
			return nil
		})
	})
}

// asSPDKSees demands that a store which SPDK would load is what SPDK takes it for: nothing is in the journal, and the masks
// are those of the blobs. Its blobs are as of the newest checkpoint, and SPDK may change them.
func asSPDKSees(t *testing.T, dev *bdev.Device) error {
	super, err := readSuper(dev, nil)
	if err != nil || super.version > versionSPDK {
		return nil //nolint:nilerr // SPDK refuses it: another version, or torn
	}
	if super.clean != 1 {
		return fmt.Errorf("version %d, clean %d", super.version, super.clean)
	}
	ji := journalIn(t, dev)
	end, err := ji.replay(&frameOffsets{})
	if err == nil && end.frames > 0 {
		err = fmt.Errorf("%d frames in the journal", end.frames)
	}
	if err != nil {
		return err
	}
	r, err := Check(dev, CheckOptions{})
	for _, f := range r.Findings {
		if f.Severity > SeverityInfo {
			err = errors.Join(err, errors.New(f.String()))
		}
	}
	return err
}

// Opening and closing change the superblock in place; wherever that is cut or torn, the store opens, and what SPDK would
// load has nothing in the journal.
func TestCutWhileOpeningAndClosing(t *testing.T) {
	disk := smallStore(t)
	eachCut(t, disk, func(dev *bdev.Device) {
		s, err := Open(dev, OpenOptions{})
		if err != nil {
			return
		}
		tx := s.Begin()
		id := tx.Create()
		tx.SetXattr(id, "v", []byte("1"))
		lsn, err := tx.Commit()
		if err == nil {
			err = s.Sync(lsn)
		}
		if err != nil {
			abandon(s)
			return
		}
		tx = s.Begin()
		tx.Resize(id, 3)
		_, _ = tx.Commit()
		_ = s.Close()
	}, func(dev *bdev.Device) error {
		if err := asSPDKSees(t, dev); err != nil {
			return fmt.Errorf("as SPDK sees it: %w", err)
		}
		ro, err := Open(dev, OpenOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		n := len(ro.IDs())
		if err := ro.Close(); err != nil {
			return err
		}
		return reopened(dev, func(s *Store) error {
			if len(s.IDs()) != n {
				return fmt.Errorf("blobs %v, %d when opened to read", s.IDs(), n)
			}
			return nil
		})
	})
}

// A format that is cut leaves no store or a whole one.
func TestCutWhileFormatting(t *testing.T) {
	disk := smallStore(t)
	eachCut(t, disk, func(dev *bdev.Device) {
		_ = Format(dev, FormatOptions{ClusterSize: 65536, MDPages: 32, JournalSize: 256 << 10, Force: true})
	}, func(dev *bdev.Device) error {
		s, err := Open(dev, OpenOptions{})
		if err != nil {
			return nil //nolint:nilerr // no store is fine
		}
		defer abandon(s)
		if ids := s.IDs(); len(ids) != 1 {
			return fmt.Errorf("blobs %v", ids)
		}
		return nil
	})
}

// Frames may land in any order as long as no flush has covered them: a later one without its predecessor is no damage,
// not even behind the very first.
func TestCutBetweenUnflushedFrames(t *testing.T) {
	eachCut(t, smallStore(t), func(dev *bdev.Device) {
		s, err := Open(dev, OpenOptions{})
		if err != nil {
			return
		}
		defer abandon(s)
		for range 3 {
			tx := s.Begin()
			tx.SetXattr(tx.Create(), "x", nil)
			lsn, err := tx.Commit()
			if err != nil || s.writeUpTo(lsn) != nil {
				return
			}
		}
	}, func(dev *bdev.Device) error {
		return reopened(dev, func(s *Store) error {
			if n := len(s.IDs()) - 1; n != int(s.LastLSN()) {
				return fmt.Errorf("%d blobs after transaction %d", n, s.LastLSN())
			}
			return nil
		})
	})
}
