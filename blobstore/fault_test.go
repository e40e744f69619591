package blobstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"compress/gzip"
	"io"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
)

var errInjected = errors.New("injected")

// faults fails the requests that match.
type faults struct {
	match atomic.Pointer[func(r *bdev.Request) bool]
	hits  atomic.Int64
	err   error
}

func (f *faults) on(match func(r *bdev.Request) bool) { f.match.Store(&match) }
func (f *faults) off()                                { f.match.Store(nil) }

func (f *faults) Begin(r *bdev.Request) bdev.Verdict {
	if m := f.match.Load(); m != nil && (*m)(r) {
		f.hits.Add(1)
		return bdev.Verdict{Answered: true, Err: f.err}
	}
	return bdev.Verdict{}
}

func (f *faults) End(_ *bdev.Request, _ bdev.Verdict, err error) error { return err }

// faultyDevice is a device of 16 MiB behind faults.
func faultyDevice(t *testing.T, lower bdev.Backend) (*bdev.Device, *faults) {
	t.Helper()
	if lower == nil {
		var err error
		lower, err = mallocbdev.New(mallocbdev.Config{Size: 16 << 20})
		require.NoError(t, err)
	}
	f := &faults{err: errInjected}
	dev, err := bdev.New("faulty:test", bdev.NewRelay(lower, f), bdev.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return dev, f
}

// firstTries matches writes until n have failed.
func firstTries(f *faults, n int64, op bdev.Op) func(r *bdev.Request) bool {
	return func(r *bdev.Request) bool { return r.Op == op && f.hits.Load() < n }
}

func TestTransfersAreRepeatedWithinABound(t *testing.T) {
	dev, f := faultyDevice(t, nil)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 2)
	require.NoError(t, s.Sync(commit(t, tx)))
	b, err := s.Blob(id)
	require.NoError(t, err)
	for _, op := range []bdev.Op{bdev.OpRead, bdev.OpWrite} {
		for _, c := range []struct {
			fails int64
			ok    bool
		}{{maxTries - 1, true}, {maxTries, false}} {
			f.hits.Store(0)
			f.on(firstTries(f, c.fails, op))
			var io IO
			if op == bdev.OpRead {
				b.StartRead(&io, make([]byte, 4096), 0)
			} else {
				b.StartWrite(&io, make([]byte, 4096), 0)
			}
			err := io.Wait()
			f.off()
			if c.ok {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, errInjected)
			}
			require.Equal(t, err, io.Wait(), "waiting again")
			require.True(t, io.Done())
		}
	}
	closeAndCheck(t, s)
}

// Reads of an open are repeated too: whichever fails once, the store opens, clean or after a crash.
func TestOpenRepeatsReads(t *testing.T) {
	dev, f := faultyDevice(t, nil)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 1)
	require.NoError(t, s.Sync(commit(t, tx)))
	for _, clean := range []bool{false, true} {
		for nth := int64(1); ; nth++ {
			if clean {
				require.NoError(t, s.Close())
			} else {
				abandon(s)
			}
			var reads atomic.Int64
			f.hits.Store(0)
			f.on(func(r *bdev.Request) bool { return r.Op == bdev.OpRead && reads.Add(1) == nth })
			var err error
			s, err = Open(dev, OpenOptions{})
			f.off()
			require.NoError(t, err, "read %d of opening a store, clean %v", nth, clean)
			require.Len(t, s.IDs(), 2)
			if f.hits.Load() == 0 {
				break
			}
		}
	}
	closeAndCheck(t, s)
}

// A flush that fails makes the store read-only; reading goes on, and the next open recovers.
func TestFailedFlush(t *testing.T) {
	dev, f := faultyDevice(t, crashbdev.New(crashbdev.Options{Size: 16 << 20}))
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.SetXattr(id, "v", []byte("1"))
	require.NoError(t, s.Sync(commit(t, tx)))
	durable := s.DurableLSN()
	tx = s.Begin()
	tx.SetXattr(id, "v", []byte("2"))
	lsn := commit(t, tx)
	f.on(func(r *bdev.Request) bool { return r.Op == bdev.OpFlush })
	err := s.Sync(lsn)
	require.ErrorIs(t, err, errInjected)
	require.ErrorIs(t, err, ErrReadOnly)
	require.EqualValues(t, 1, f.hits.Load(), "a failed flush is not repeated")
	f.off()
	require.ErrorIs(t, s.Sync(lsn), ErrReadOnly)
	require.ErrorIs(t, s.SyncData(), ErrReadOnly)
	require.ErrorIs(t, s.Err(), errInjected)
	tx = s.Begin()
	tx.SetXattr(id, "v", []byte("3"))
	_, err = tx.Commit()
	require.ErrorIs(t, err, ErrReadOnly)
	require.NoError(t, s.Sync(durable), "what was durable stays so")
	b, err := s.Blob(id)
	require.NoError(t, err)
	v, _ := b.Xattr("v")
	require.Equal(t, "2", string(v))
	require.ErrorIs(t, s.Close(), errInjected)
	require.NoError(t, reopened(dev, func(s *Store) error { return nil }))
}

// A flush that fails for one caller may have dropped the writes of another, whose own flush then succeeds.
func TestFlushAfterAFailedOne(t *testing.T) {
	disk := crashbdev.New(crashbdev.Options{Size: 16 << 20})
	dev := openDisk(t, disk)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 1)
	require.NoError(t, s.Sync(commit(t, tx)))
	b, err := s.Blob(id)
	require.NoError(t, err)
	var io IO
	b.StartWrite(&io, fill(4096, 7), 0)
	require.NoError(t, io.Wait())
	disk.FailFlush(1, crashbdev.LoseAll, 1)
	require.Error(t, dev.Flush()) // another goroutine's, which has not told the store yet
	err = s.SyncData(&io)
	require.ErrorIs(t, err, ErrReadOnly, "the bytes are lost")
	require.ErrorContains(t, err, "earlier")
	require.ErrorIs(t, s.Err(), ErrReadOnly)
	require.Error(t, s.Close())
	require.NoError(t, reopened(dev, func(s *Store) error { return nil }), "a failure of the past is over with its store")
}

// A journal write that fails for good does the same, also to a checkpoint in the background.
func TestFailedJournalWrite(t *testing.T) {
	dev, f := faultyDevice(t, nil)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	lsn := commit(t, tx)
	require.NoError(t, s.Sync(lsn))
	tx = s.Begin()
	tx.SetXattr(id, "v", nil)
	lsn = commit(t, tx)
	f.on(func(r *bdev.Request) bool { return r.Op == bdev.OpWrite })
	require.ErrorIs(t, s.Sync(lsn), errInjected)
	f.off() // the device works again: it is the store that remembers
	require.ErrorIs(t, s.Sync(lsn), ErrReadOnly)
	require.ErrorIs(t, s.checkpoint(), ErrReadOnly)
	require.ErrorIs(t, s.Confirm(lsn), ErrReadOnly)
	require.Error(t, s.Close())
	require.NoError(t, reopened(dev, func(s *Store) error {
		st, err := s.Stat(id)
		require.Empty(t, st.Xattrs)
		return err
	}))
}

// A vouched change whose data cannot be written is set back, in memory and across a crash, and a checkpoint that was
// waiting for the data does not show it even if the power fails right after.
func TestFailedVouchedData(t *testing.T) {
	for _, name := range []string{"len", "other"} {
		for _, synced := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " synced ", synced), func(t *testing.T) { failVouchedData(t, name, synced) })
		}
	}
}

func failVouchedData(t *testing.T, name string, synced bool) {
	dev, f := faultyDevice(t, nil)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 2)
	tx.SetXattr(id, "len", []byte("old"))
	require.NoError(t, s.Sync(commit(t, tx)))
	b, err := s.Blob(id)
	require.NoError(t, err)
	data := s.super.clusterOffset(clusterIndex(clustersOfBlob(t, s, id)[0].Physical))
	f.on(func(r *bdev.Request) bool { return r.Op == bdev.OpWrite && r.Offset >= data })
	var io IO
	buf := fill(4096, 1)
	b.StartWrite(&io, buf, 0)
	tx = s.Begin()
	tx.SetXattrVouched(id, name, []byte("new"), Vouch{0, 4096, checksumOf(buf)})
	lsn := commit(t, tx)
	done := make(chan error)
	go func() { done <- s.checkpoint() }()
	require.Eventually(t, func() bool { // the checkpoint has frozen the change and waits for its data
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.dirty) == 0
	}, 5*time.Second, 100*time.Microsecond)
	require.ErrorIs(t, s.SyncVouched(lsn, &io), errInjected)
	f.off()
	require.NoError(t, <-done)
	require.NoError(t, s.Err())
	if synced {
		require.NoError(t, s.Confirm(s.LastLSN()))
		require.NoError(t, s.Sync(s.LastLSN()))
	}
	check := func(s *Store) error {
		st, err := s.Stat(id)
		require.Equal(t, map[string][]byte{"len": []byte("old")}, st.Xattrs)
		return err
	}
	require.NoError(t, check(s))
	checkInvariants(t, s)
	abandon(s)
	require.NoError(t, reopened(dev, check))
}

// A vouched change that nobody syncs does not keep the store from closing, and is not there afterwards.
func TestCloseWithUnsyncedVoucher(t *testing.T) {
	dev, _ := faultyDevice(t, nil)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 1)
	commit(t, tx)
	tx = s.Begin()
	tx.SetXattrVouched(id, "len", []byte("new"), Vouch{0, 4096, 1})
	commit(t, tx)
	closeAndCheck(t, s)
	require.NoError(t, reopened(dev, func(s *Store) error {
		st, err := s.Stat(id)
		require.Empty(t, st.Xattrs)
		return err
	}))
}

// The flush of somebody else ends a voucher that was set back. The checkpoint that has seen its change must still notice.
func TestCheckpointNoticesWhatWasSetBack(t *testing.T) {
	for _, covered := range []bool{false, true} { // by a later change of the same attribute, instead of set back
		dev := mallocDevice(t, 16<<20)
		s := formatAndOpen(t, dev, FormatOptions{})
		tx := s.Begin()
		id := tx.Create()
		tx.Resize(id, 1)
		tx.SetXattr(id, "len", []byte("old"))
		require.NoError(t, s.Sync(commit(t, tx)))
		tx = s.Begin()
		tx.SetXattrVouched(id, "len", []byte("new"), Vouch{Offset: 0, Length: 4096, Sum: 12345})
		lsn := commit(t, tx)
		c, err := s.freeze()
		require.NoError(t, err)
		if covered {
			tx = s.Begin()
			tx.SetXattr(id, "len", []byte("newer"))
			commit(t, tx)
		}
		s.dataDone(lsn, errInjected)
		require.NoError(t, s.flush())
		ok, _, err := s.awaitVouchers(c)
		require.NoError(t, err)
		require.False(t, ok, "the snapshot shows bytes that were never written")
		abandon(s)
	}
}

// A vouched change is set back although the pending frame is full, and while the store is being closed.
func TestSettingBackFindsRoom(t *testing.T) {
	for _, closing := range []bool{false, true} {
		dev := openDisk(t, smallStore(t))
		s, err := Open(dev, OpenOptions{})
		require.NoError(t, err)
		tx := s.Begin()
		id := tx.Create()
		tx.Resize(id, 1)
		tx.SetXattr(id, "len", make([]byte, 3000))
		commit(t, tx)
		tx = s.Begin()
		tx.SetXattrVouched(id, "len", []byte("new"), Vouch{Offset: 0, Length: 4096, Sum: 12345})
		lsn := commit(t, tx)
		for s.j.fits(3100) { // no I/O: the frame is pending
			tx = s.Begin()
			tx.SetXattr(id, "fill", make([]byte, 2000))
			commit(t, tx)
		}
		if closing {
			s.mu.Lock()
			s.closed = true
			s.mu.Unlock()
		}
		s.dataDone(lsn, errInjected)
		require.NoError(t, s.Err())
		s.mu.Lock()
		s.closed = false
		s.mu.Unlock()
		require.NoError(t, reopenedAfter(s, func(s *Store) error {
			st, err := s.Stat(id)
			require.Len(t, st.Xattrs["len"], 3000)
			return err
		}))
	}
}

// A confirmation waits for a checkpoint rather than take the room that setting back may need.
func TestConfirmationsLeaveRoomToSetBack(t *testing.T) {
	dev := openDisk(t, smallStore(t))
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 1)
	require.NoError(t, s.Sync(commit(t, tx)))
	b, err := s.Blob(id)
	require.NoError(t, err)
	s.stopWorker() // checkpoints are made by hand
	for s.j.used()+1+ringSlack < s.j.geo.ring {
		tx = s.Begin()
		tx.SetXattr(id, "fill", nil)
		require.NoError(t, s.Sync(commit(t, tx)))
	}
	var io IO
	data := fill(4096, 1)
	b.StartWrite(&io, data, 0)
	tx = s.Begin()
	tx.SetXattrVouched(id, "len", []byte("new"), Vouch{Offset: 0, Length: 4096, Sum: checksumOf(data)})
	lsn := commit(t, tx)
	require.NoError(t, s.SyncVouched(lsn, &io))
	done := make(chan error)
	s.mu.Lock()
	s.wantCheckpoint = false // until the confirmation asks
	s.mu.Unlock()
	go func() { done <- s.Confirm(lsn) }()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.wantCheckpoint || s.j.carried >= lsn
	}, 5*time.Second, 100*time.Microsecond)
	s.mu.Lock()
	require.LessOrEqual(t, s.j.used(), s.j.geo.ring-ringSlack)
	s.mu.Unlock()
	require.NoError(t, s.checkpoint())
	require.NoError(t, <-done)
	s.release()
	require.NoError(t, reopened(dev, func(*Store) error { return nil }))
}

// Commits leave room in the ring to set a vouched change back, also when they wait for a checkpoint that waits for its data.
func TestCommitsLeaveRoomToSetBack(t *testing.T) {
	dev := openDisk(t, smallStore(t))
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	s.stopWorker() // checkpoints are made by hand
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 1)
	tx.SetXattr(id, "len", []byte("old"))
	require.NoError(t, s.Sync(commit(t, tx)))
	tx = s.Begin()
	tx.SetXattrVouched(id, "len", []byte("new"), Vouch{Offset: 0, Length: 4096, Sum: 12345})
	lsn := commit(t, tx)
	full := make(chan struct{})
	done := make(chan error)
	go func() { // until one more has waited
		for {
			tx := s.Begin()
			tx.SetXattr(id, "fill", nil)
			lsn, err := tx.Commit()
			if err == nil {
				err = s.Sync(lsn)
			}
			select {
			case <-full:
				done <- err
				return
			default:
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.starved > 0
	}, 5*time.Second, 100*time.Microsecond)
	close(full)
	s.dataDone(lsn, errInjected)
	require.NoError(t, s.Err(), "the ring had no room")
	require.NoError(t, s.checkpoint())
	require.NoError(t, <-done)
	s.release()
	require.NoError(t, reopened(dev, func(s *Store) error {
		st, err := s.Stat(id)
		require.Equal(t, "old", string(st.Xattrs["len"]))
		return err
	}))
}

// reopenedAfter closes a store and hands the reopened one to f.
func reopenedAfter(s *Store, f func(s *Store) error) error {
	if err := s.Close(); err != nil {
		return err
	}
	return reopened(s.Device(), f)
}

// The host of a sparse image may run out of space under us: that is ErrNoSpace, and nothing has changed.
func TestHostOutOfSpace(t *testing.T) {
	dev, f := faultyDevice(t, crashbdev.New(crashbdev.Options{Size: 16 << 20, Sparse: true}))
	s := formatAndOpen(t, dev, FormatOptions{})
	f.err = bdev.ErrNoSpace
	f.on(func(r *bdev.Request) bool { return r.Op == bdev.OpAllocate })
	free := s.FreeClusters()
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 5)
	_, err := tx.Commit()
	require.ErrorIs(t, err, ErrNoSpace)
	require.Equal(t, free, s.FreeClusters())
	require.NoError(t, s.Err())
	f.off()
	tx = s.Begin()
	require.Equal(t, id, tx.Create(), "the id is free again")
	tx.Resize(id, 5)
	commit(t, tx)
	f.on(func(r *bdev.Request) bool { return r.Op == bdev.OpAllocate })
	tx = s.Begin()
	tx.Resize(id, 0)
	require.NoError(t, s.Sync(commit(t, tx)))
	tx = s.Begin()
	tx.Resize(id, 5)
	commit(t, tx) // clusters that have the host's space need no more
	f.off()
	closeAndCheck(t, s)
	require.ErrorIs(t, Format(dev, FormatOptions{Force: true, MDPages: 1 << 20}), ErrNoSpace)
}

// goldenDisk is an image of SPDK on a crash disk.
func goldenDisk(t *testing.T, name string, block int) *crashbdev.Disk {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "golden", name+".img.gz"))
	require.NoError(t, err)
	defer file.Close()
	z, err := gzip.NewReader(file)
	require.NoError(t, err)
	raw, err := io.ReadAll(z)
	require.NoError(t, err)
	disk := crashbdev.New(crashbdev.Options{Size: int64(len(raw)), BlockSize: block})
	dev := openDisk(t, disk)
	for off := 0; off < len(raw); off += 1 << 20 {
		require.NoError(t, dev.Write(raw[off:min(off+1<<20, len(raw))], int64(off)))
	}
	require.NoError(t, dev.Flush())
	require.NoError(t, dev.Close())
	return disk
}

// TestAdoptStoreOfSPDK opens stores that SPDK made for writing: they get a journal, keep their blobs, and are SPDK's
// clean stores again after Close, wherever that is cut in between.
func TestAdoptStoreOfSPDK(t *testing.T) {
	for _, name := range []string{"bs-basic", "lvs-thin"} {
		t.Run(name, func(t *testing.T) {
			base := goldenDisk(t, name, 4096)
			dev := openDisk(t, base)
			ro, err := Open(dev, OpenOptions{ReadOnly: true})
			require.NoError(t, err)
			want := make(map[BlobID]BlobInfo)
			for _, id := range ro.IDs() {
				want[id], err = ro.Stat(id)
				require.NoError(t, err)
			}
			require.NoError(t, ro.Close())
			require.NoError(t, dev.Close())
			steps := 0
			eachCut(t, base, func(dev *bdev.Device) {
				steps++
				s, err := Open(dev, OpenOptions{})
				if err != nil {
					return
				}
				tx := s.Begin()
				id := tx.Create()
				tx.Resize(id, 1)
				tx.SetXattr(id, "ours", []byte("x"))
				if lsn, err := tx.Commit(); err != nil || s.Sync(lsn) != nil || steps%2 == 0 {
					abandon(s)
					return
				}
				_ = s.Close()
			}, func(dev *bdev.Device) error {
				if err := sameBlobs(dev, want); err != nil {
					return err
				}
				return reopened(dev, func(s *Store) error { return nil })
			})
		})
	}
}

// sameBlobs reports whether the blobs are still there, unchanged.
func sameBlobs(dev *bdev.Device, want map[BlobID]BlobInfo) error {
	s, err := Open(dev, OpenOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer s.Close()
	for id, w := range want {
		got, err := s.Stat(id)
		if err != nil {
			return err
		}
		if len(got.Extents) != len(w.Extents) || len(got.Xattrs) != len(w.Xattrs) || got.Clusters != w.Clusters {
			return errors.New("blob " + id.String() + " has changed")
		}
		for i := range w.Extents {
			if got.Extents[i] != w.Extents[i] {
				return errors.New("extents of blob " + id.String() + " have changed")
			}
		}
	}
	return nil
}

// A valid root page that no mask names, and that a clean load therefore does not read, does not become a blob by a crash
// of ours, after which only root pages count.
func TestForgottenRootPage(t *testing.T) {
	dev, _ := faultyDevice(t, nil)
	s := formatAndOpen(t, dev, FormatOptions{})
	var ids []BlobID
	for range 100 {
		tx := s.Begin()
		ids = append(ids, tx.Create())
		commit(t, tx)
	}
	for _, id := range ids[10:90] {
		tx := s.Begin()
		tx.Delete(id)
		commit(t, tx)
	}
	closeAndCheck(t, s)
	ghost := &blobState{id: ids[50]}
	pages, err := ghost.encode(noMorePages)
	require.NoError(t, err)
	require.NoError(t, dev.Write(pages[0].data, s.super.pageOffset(pages[0].index)))
	for range 2 {
		s, err := Open(dev, OpenOptions{})
		require.NoError(t, err)
		require.Len(t, s.IDs(), 21)
		abandon(s)
	}
}

// A blob that SPDK made between two sessions of ours, beyond the high-water mark that the journal remembers, is a blob.
func TestBlobOfSPDKBetweenSessions(t *testing.T) {
	dev := mallocDevice(t, 16<<20)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	tx.SetXattr(tx.Create(), "ours", nil)
	commit(t, tx)
	require.NoError(t, s.Close())
	st := &blobState{id: blobIDOf(9)}
	st.xattrs.set("spdk", []byte("blob"))
	pages, err := st.encode(noMorePages)
	require.NoError(t, err)
	require.NoError(t, dev.Write(pages[0].data, s.super.pageOffset(9)))
	m, err := loadMetadata(dev, &s.super, loadOptions{})
	require.NoError(t, err)
	require.NoError(t, writeMasks(dev, &s.super, masksOf(m)))
	for _, closed := range []bool{false, false, true, true} {
		s, err := Open(dev, OpenOptions{})
		require.NoError(t, err)
		got, err := s.Stat(st.id)
		require.NoError(t, err)
		require.Equal(t, []byte("blob"), got.Xattrs["spdk"])
		tx := s.Begin()
		tx.SetXattr(tx.Create(), "ours", nil)
		require.NoError(t, s.Sync(commit(t, tx)))
		if closed {
			closeAndCheck(t, s)
		} else {
			abandon(s)
		}
	}
}

// A store that SPDK left dirty is opened for writing only on request.
func TestDirtyStoreOfSPDK(t *testing.T) {
	dev := openDisk(t, goldenDisk(t, "bs-dirty", 4096))
	_, err := Open(dev, OpenOptions{})
	require.ErrorIs(t, err, ErrNotClean)
	s, err := Open(dev, OpenOptions{Recover: true})
	require.NoError(t, err)
	closeAndCheck(t, s)
}
