package blobstore

import "testing"

// benchStore is a store with one blob of 4 MiB on RAM.
func benchStore(b *testing.B) (*Store, *Blob) {
	s := formatAndOpen(b, mallocDevice(b, 256<<20), FormatOptions{})
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 4<<20/int64(s.ClusterSize()))
	commit(b, tx)
	blob, err := s.Blob(id)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	return s, blob
}

func BenchmarkRead4K(b *testing.B) {
	s, blob := benchStore(b)
	p := s.mem.Get(4096)
	for i := range b.N {
		if err := blob.Read(p, int64(i%1024)*4096); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead4KParallel(b *testing.B) {
	s, blob := benchStore(b)
	b.RunParallel(func(pb *testing.PB) {
		p := s.mem.Get(4096)
		for i := 0; pb.Next(); i++ {
			if err := blob.Read(p, int64(i%1024)*4096); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkSyncData(b *testing.B) {
	s, blob := benchStore(b)
	p := s.mem.Get(4096)
	var io IO
	ios := []*IO{&io}
	for i := range b.N {
		blob.StartWrite(&io, p, int64(i%1024)*4096)
		if err := s.SyncData(ios...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSyncVouched is an append to a log that grows.
func BenchmarkSyncVouched(b *testing.B) {
	s, blob := benchStore(b)
	p := s.mem.Get(4096)
	var io IO
	for i := range b.N {
		off := int64(i%1024) * 4096
		blob.StartWrite(&io, p, off)
		tx := s.Begin()
		tx.SetXattrVouched(blob.ID(), "len", lengthValue(off), Vouch{off, 4096, checksumOf(p)})
		lsn, err := tx.Commit()
		if err != nil {
			b.Fatal(err)
		}
		if err := s.SyncVouched(lsn, &io); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateDelete is the life of a file without data.
func BenchmarkCreateDelete(b *testing.B) {
	s, _ := benchStore(b)
	for range b.N {
		tx := s.Begin()
		id := tx.Create()
		tx.SetXattr(id, "name", []byte("some file"))
		commit(b, tx)
		tx = s.Begin()
		tx.Delete(id)
		if err := s.Sync(commit(b, tx)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen10000(b *testing.B) {
	dev := mallocDevice(b, 16<<30)
	s := formatAndOpen(b, dev, FormatOptions{MDPages: 16384})
	for range 10000 {
		tx := s.Begin()
		id := tx.Create()
		tx.Resize(id, 1)
		tx.SetXattr(id, "name", []byte("blobfs.link/0000000100000001/some file"))
		commit(b, tx)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		s, err := Open(dev, OpenOptions{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
