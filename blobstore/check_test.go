package blobstore

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
)

// imageDevice is a RAM device with the contents of an image. read returns what is on it now.
func imageDevice(t testing.TB, img []byte) (dev *bdev.Device, read func() []byte) {
	t.Helper()
	m, err := crashbdev.LoadImage(bytes.NewReader(img), int64(len(img)))
	require.NoError(t, err)
	disk := crashbdev.FromImage(m, crashbdev.Options{BlockSize: 512})
	dev, err = disk.Open("image")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return dev, func() []byte {
		b := make([]byte, len(img))
		require.NoError(t, dev.Read(b, 0))
		return b
	}
}

// ownImage is a clean store of ours with a few blobs, and the id of one of them.
func ownImage(t testing.TB) ([]byte, BlobID) {
	t.Helper()
	dev, read := imageDevice(t, make([]byte, 16<<20))
	require.NoError(t, Format(dev, FormatOptions{ClusterSize: 64 << 10, Type: "CHECK"}))
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	var id BlobID
	for i := range 5 {
		tx := s.Begin()
		id = tx.Create()
		tx.Resize(id, int64(i))
		tx.SetXattr(id, "n", []byte{byte(i)})
		tx.SetXattr(id, "long", make([]byte, 3000))
		tx.SetXattr(id, "longer", make([]byte, 3001))
		_, err = tx.Commit()
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	return read(), id
}

func TestCheckOwnStore(t *testing.T) {
	img, id := ownImage(t)
	for _, c := range []struct {
		name   string
		damage func(img []byte, super *superblock)
		ok     bool
		text   string
	}{
		{"intact", func([]byte, *superblock) {}, true, "6 blobs, 0 refused, 0 bad, 0 findings: OK"},
		{"root page", func(img []byte, s *superblock) { img[s.pageOffset(id.page())+30] ^= 1 }, false, "blob " + id.String() + ": image: offset "},
		{"root page's id", func(img []byte, s *superblock) { img[s.pageOffset(id.page())] ^= 1 }, false, "blob " + id.String() + ": image: offset "},
		{"root page lost", func(img []byte, s *superblock) { clear(img[s.pageOffset(id.page()):][:pageSize]) }, false, "root page of a blob: expected " + id.String() + ", got zeros"},
		{"page mask", func(img []byte, s *superblock) { img[s.pageMask.offset()+maskHeaderSize] ^= 1 }, true, "used-page mask: bit 0"},
		{"cluster mask", func(img []byte, s *superblock) { img[s.clusterMask.offset()+maskHeaderSize+20] ^= 2 }, true, "used-cluster mask: bit 161"},
		{"superblock", func(img []byte, s *superblock) { img[100]++ }, false, "superblock: crc"},
		{"super blob", func(img []byte, s *superblock) { patch(superOffSuperBlob, 77)(img); patch(superOffSuperBlob+4, 1)(img) }, true, "super blob"},
		{"reserved bytes", func(img []byte, s *superblock) { patch(300, 1)(img) }, true, "reserved"},
		{"unused page", func(img []byte, s *superblock) { img[s.pageOffset(pageIndex(s.mdPages()-1))] = 1 }, true, "metadata page 255"},
		{"no store", func(img []byte, s *superblock) { clear(img[:superSize]) }, false, "not a blobstore"},
	} {
		t.Run(c.name, func(t *testing.T) {
			damaged := bytes.Clone(img)
			super, err := readSuper(&ramDevice{data: img}, nil)
			require.NoError(t, err)
			c.damage(damaged, &super)
			dev, read := imageDevice(t, damaged)
			r, err := Check(dev, CheckOptions{})
			require.NoError(t, err)
			var out strings.Builder
			require.NoError(t, r.Print(&out))
			require.Equal(t, c.ok, r.OK(), out.String())
			require.Contains(t, out.String(), c.text)
			require.True(t, bytes.Equal(damaged, read()), "a check writes nothing")
		})
	}
}

// TestCheckSeesWhatIsUnfinished checks a store that is open for writing: the journal counts.
func TestCheckSeesWhatIsUnfinished(t *testing.T) {
	img, id := ownImage(t)
	dev, read := imageDevice(t, img)
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	tx := s.Begin()
	tx.Delete(id)
	lsn, err := tx.Commit()
	require.NoError(t, err)
	require.NoError(t, s.Sync(lsn))
	crashed, _ := imageDevice(t, read())
	require.NoError(t, s.Close())
	r, err := Check(crashed, CheckOptions{})
	require.NoError(t, err)
	require.True(t, r.OK(), "%v", r.Findings)
	require.Equal(t, 5, r.Blobs)
	require.True(t, r.Info.Recovered)
	require.EqualValues(t, versionSPDK, r.Info.Version, "of the layout, however it was left")
	require.NotEmpty(t, r.Findings, "not closed cleanly")
}

// TestReasonsOfRefusal: a listing says what a blob would need.
func TestReasonsOfRefusal(t *testing.T) {
	for file, reasons := range map[string][]string{
		"snapcrash-1.img.gz": {"thin-provisioned", "interrupted"},
		"snapcrash-3.img.gz": {"clone of a snapshot", "interrupted"},
		"delcrash-1.img.gz":  {"interrupted"},
		"lvs-esnap.img.gz":   {"clone of an external snapshot"},
	} {
		dev, _ := imageDevice(t, readGolden(t, file))
		r, err := Check(dev, CheckOptions{})
		require.NoError(t, err)
		var out strings.Builder
		require.NoError(t, r.Print(&out))
		for _, reason := range reasons {
			require.Contains(t, out.String(), reason, file)
		}
	}
}

// TestDump prints every page of an image and finds the names of everything in it; and takes any garbage.
func TestDump(t *testing.T) {
	dev, _ := imageDevice(t, readGolden(t, "lvs-thin.img.gz"))
	var out strings.Builder
	require.NoError(t, DumpSuper(&out, dev))
	for p := range int64(64) {
		require.NoError(t, DumpPage(&out, dev, p))
	}
	for _, text := range []string{
		`"SPDKBLOB"`, `"LVOLSTORE"`, "checks           ok", "crc       ok", `xattr "name" = "thick0`, `internal xattr "SNAP"`,
		"flags: invalid 0x", "extent table of 12 clusters", "extent page from cluster 0:", "never used or freed",
	} {
		require.Contains(t, out.String(), text)
	}
	require.ErrorIs(t, DumpPage(&out, dev, 64), ErrOutOfRange)

	r := rng(t)
	img := make([]byte, 1<<20)
	for i := range img[:16<<12] {
		img[i] = byte(r.Uint32())
	}
	garbage, _ := imageDevice(t, img)
	out.Reset()
	require.NoError(t, DumpSuper(&out, garbage))
	require.Contains(t, out.String(), "not a blobstore")
	p := printer{w: &out}
	for range 100 {
		b := make([]byte, pageSize)
		for i := range b {
			b[i] = byte(r.Uint32() & 7)
		}
		p.page(b)
	}
	require.Contains(t, out.String(), "crc")
}
