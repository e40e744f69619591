package blobstore

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
)

func mallocDevice(t testing.TB, size int64) *bdev.Device {
	t.Helper()
	b, err := mallocbdev.New(mallocbdev.Config{Size: size})
	require.NoError(t, err)
	dev, err := bdev.New("malloc:test", b, bdev.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return dev
}

func formatAndOpen(t testing.TB, dev *bdev.Device, o FormatOptions) *Store {
	t.Helper()
	require.NoError(t, Format(dev, o))
	s, err := Open(dev, OpenOptions{Type: o.Type})
	require.NoError(t, err)
	return s
}

// closeAndCheck closes a store and has the whole of it checked.
func closeAndCheck(t testing.TB, s *Store) {
	t.Helper()
	checkInvariants(t, s)
	require.NoError(t, s.Close())
	r, err := Check(s.Device(), CheckOptions{})
	require.NoError(t, err)
	require.True(t, r.OK(), "check: %+v", r.Findings)
}

// checkInvariants compares what the store keeps count of with what its blobs say.
func checkInvariants(t testing.TB, s *Store) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	clusters := newBitmap(s.super.clusters())
	clusters.setRange(0, s.super.mdClusters())
	owed, cost := 0, 0
	for id, b := range s.blobs.all() {
		require.True(t, s.pages.test(int(id.page())), "root page of blob %v", id)
		if b.st.refused != nil {
			eachCluster(b.st, func(c clusterIndex) { clusters.set(int(c)) })
			continue
		}
		require.Equal(t, pagesNeeded(b.st), b.need)
		require.Equal(t, b.st.pageCount(), b.need)
		owed += b.owed()
		eachCluster(b.st, func(c clusterIndex) { require.True(t, clusters.set(int(c)), "cluster %d is owned twice", c) })
		require.Equal(t, b.st.clusters()*int64(s.super.clusterSize), b.ext.Load().size)
	}
	for _, p := range s.space.pending {
		for _, r := range p.runs {
			clusters.setRange(int(r.start), int(r.count))
		}
	}
	if !s.space.punching && len(s.bad) == 0 { // what bad blobs seem to own stays used
		require.True(t, clusters.equal(&s.space.used), "used clusters: %d, of blobs and pending: %d", s.space.used.count(), clusters.count())
	}
	require.Equal(t, owed, s.owed)
	for _, d := range s.dirty {
		cost += d.cost
	}
	require.Equal(t, cost, s.dirtyCost)
	require.LessOrEqual(t, s.pages.count()+s.owed, s.pages.len())
}

func commit(t testing.TB, tx *Tx) LSN {
	t.Helper()
	lsn, err := tx.Commit()
	require.NoError(t, err)
	return lsn
}

func fill(n int, seed uint64) []byte {
	b := make([]byte, n)
	var src [32]byte
	src[0], src[1], src[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	_, _ = rand.NewChaCha8(src).Read(b)
	return b
}

func TestLifeOfAStore(t *testing.T) {
	dev := mallocDevice(t, 64<<20)
	s := formatAndOpen(t, dev, FormatOptions{Type: "TEST"})
	tx := s.Begin()
	a, b := tx.Create(), tx.Create()
	require.Equal(t, blobIDOf(1), a)
	tx.Resize(a, 3)
	tx.SetXattr(a, "name", []byte("first"))
	tx.SetXattr(b, "empty", nil)
	_, err := s.Blob(a)
	require.ErrorIs(t, err, ErrNotFound, "nothing is visible before commit")
	lsn := commit(t, tx)
	require.NoError(t, s.Sync(lsn))
	require.Equal(t, lsn, s.DurableLSN())

	blob, err := s.Blob(a)
	require.NoError(t, err)
	require.EqualValues(t, 3*s.ClusterSize(), blob.Size())
	data := fill(2*s.ClusterSize(), 1)
	require.NoError(t, blob.Write(data, 4096))
	got := make([]byte, len(data))
	require.NoError(t, blob.Read(got, 4096))
	require.True(t, bytes.Equal(data, got))
	require.ErrorIs(t, blob.Read(got, blob.Size()-4096), ErrOutOfRange)
	require.ErrorIs(t, blob.Read(got[:100], 0), ErrOutOfRange)
	closeAndCheck(t, s)

	s, err = Open(dev, OpenOptions{})
	require.NoError(t, err)
	require.Equal(t, lsn, s.LastLSN())
	blob, err = s.Blob(a)
	require.NoError(t, err)
	clear(got)
	require.NoError(t, blob.Read(got, 4096))
	require.True(t, bytes.Equal(data, got))
	v, ok := blob.Xattr("name")
	require.True(t, ok)
	require.Equal(t, "first", string(v))
	tx = s.Begin()
	tx.Delete(a)
	tx.RemoveXattr(b, "empty")
	free := s.FreeClusters()
	require.NoError(t, s.Sync(commit(t, tx)))
	require.Equal(t, free+3, s.FreeClusters())
	require.ErrorIs(t, blob.Read(got, 0), ErrNotFound)
	require.Equal(t, []BlobID{blobIDOf(0), b}, s.IDs())
	closeAndCheck(t, s)
}

func TestRecoveryReplaysTheJournal(t *testing.T) {
	dev := mallocDevice(t, 64<<20)
	s := formatAndOpen(t, dev, FormatOptions{})
	var ids []BlobID
	for i := range 100 {
		tx := s.Begin()
		id := tx.Create()
		tx.Resize(id, int64(i%3))
		tx.SetXattr(id, "n", []byte{byte(i)})
		lsn := commit(t, tx)
		if i%2 == 0 {
			require.NoError(t, s.Sync(lsn))
		}
		ids = append(ids, id)
	}
	require.NoError(t, s.Sync(s.LastLSN()))
	last := s.LastLSN()
	abandon(s)

	for _, ro := range []bool{true, false} {
		s, err := Open(dev, OpenOptions{ReadOnly: ro})
		require.NoError(t, err)
		require.Equal(t, last, s.LastLSN())
		require.True(t, s.Info().Recovered)
		for i, id := range ids {
			st, err := s.Stat(id)
			require.NoError(t, err)
			require.EqualValues(t, i%3, st.Clusters)
			require.Equal(t, []byte{byte(i)}, st.Xattrs["n"])
		}
		if !ro {
			closeAndCheck(t, s)
		}
	}
}

// abandon stops a store's goroutine as a crash would.
func abandon(s *Store) {
	s.stopWorker()
	s.release()
}

func TestSyncVouched(t *testing.T) {
	dev := mallocDevice(t, 64<<20)
	s := formatAndOpen(t, dev, FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 4)
	commit(t, tx)
	b, err := s.Blob(id)
	require.NoError(t, err)
	var io IO
	for i := range 500 {
		data := fill(4096, uint64(i))
		off := int64(i%60) * 4096
		if i >= 60 {
			require.NoError(t, s.Confirm(s.LastLSN()))
		}
		b.StartWrite(&io, data, off)
		tx := s.Begin()
		tx.SetXattrVouched(id, "len", []byte{byte(i), byte(i >> 8)}, Vouch{off, 4096, checksumOf(data)})
		lsn := commit(t, tx)
		require.NoError(t, s.SyncVouched(lsn, &io))
		require.GreaterOrEqual(t, s.DurableLSN(), lsn)
	}
	abandon(s)
	s, err = Open(dev, OpenOptions{})
	require.NoError(t, err)
	st, err := s.Stat(id)
	require.NoError(t, err)
	require.Equal(t, []byte{499 & 0xff, 499 >> 8}, st.Xattrs["len"])
	closeAndCheck(t, s)
}

func TestManyGoroutines(t *testing.T) {
	dev := mallocDevice(t, 8<<20)
	s := formatAndOpen(t, dev, FormatOptions{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			for range 200 {
				tx := s.Begin()
				id := tx.Create()
				tx.Resize(id, r.Int64N(4))
				tx.SetXattr(id, "x", fill(r.IntN(300), 0))
				lsn, err := tx.Commit()
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := s.Blob(id); err == nil && b.Size() > 0 {
					if err := b.Write(fill(4096, uint64(g)), 0); err != nil {
						t.Error(err)
					}
				}
				if err := s.Sync(lsn); err != nil {
					t.Error(err)
				}
				tx = s.Begin()
				tx.Delete(id)
				if _, err := tx.Commit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	closeAndCheck(t, s)
}
