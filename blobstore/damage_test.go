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
	"time"

	"github.com/stretchr/testify/require"
)

// rng is a seeded generator; the seed is in the test's log.
func rng(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func sealPage(b []byte) {
	binary.LittleEndian.PutUint32(b[pageOffCRC:], crc32.Checksum(b[:pageOffCRC], castagnoli))
}

func TestDamagedSuperblock(t *testing.T) {
	good := newTestStore(t).img
	for _, c := range []struct {
		name   string
		damage func(img []byte) []byte
		want   error
		text   string
	}{
		{"zeros", func(img []byte) []byte { clear(img[:superSize]); return img }, ErrNotBlobstore, "signature"},
		{"tiny device", func(img []byte) []byte { return img[:512] }, ErrNotBlobstore, "512 bytes"},
		{"truncated", func(img []byte) []byte { return img[:len(img)/2] }, ErrTruncated, "4194304"},
		{"flipped crc", func(img []byte) []byte { img[4095] ^= 1; return img }, ErrCorrupt, "offset 4092"},
		{"flipped reserved", func(img []byte) []byte { img[2000] ^= 1; return img }, ErrCorrupt, "crc"},
		{"newer version", patch(superOffVersion, 4), ErrNewerVersion, "version 0x4"},
		{"version 0", patch(superOffVersion, 0), ErrNewerVersion, "version 0x0"},
		{"large md pages", patch(superOffMDPageSize, 16384), ErrUnsupported, "16384"},
		{"clean 7", patch(superOffClean, 7), ErrCorrupt, "offset 16"},
		{"cluster size", patch(superOffClusterSize, 5000), ErrCorrupt, "offset 28"},
		{"cluster size 0", patch(superOffClusterSize, 0), ErrCorrupt, "offset 28"},
		{"io unit", patch(superOffIOUnit, 3), ErrCorrupt, "offset 88"},
		{"mask at 0", patch(superOffPageMask, 0), ErrCorrupt, "offset 32"},
		{"mask too short", patch(superOffClusterMask+4, 0), ErrCorrupt, "offset 40"},
		{"masks overlap", patch(superOffBlobIDMask, 2), ErrCorrupt, "offset 72"},
		{"md beyond the end", patch(superOffMD+4, 1<<20), ErrCorrupt, "superblock"},
		{"md region empty", patch(superOffMD+4, 0), ErrCorrupt, "offset 48"},
		{"size 0", func(img []byte) []byte { return patch(superOffDeviceSize, 0)(img) }, ErrCorrupt, "offset 80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readSuper(&ramDevice{data: c.damage(bytes.Clone(good))}, nil)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, "ram:test")
			require.ErrorContains(t, err, c.text)
		})
	}
}

// patch sets a 32-bit field of the superblock and seals it again.
func patch(off int, v uint32) func([]byte) []byte {
	return func(img []byte) []byte {
		binary.LittleEndian.PutUint32(img[off:], v)
		sealPage(img[:pageSize])
		return img
	}
}

// TestOlderVersions: stores of versions 1 and 2 lack fields at the end of the superblock, version 1 a mask too.
func TestOlderVersions(t *testing.T) {
	for version := uint32(1); version <= 2; version++ {
		img := readGolden(t, "bs-basic.img.gz")
		before := loadGolden(t, &ramDevice{data: img})
		clear(img[superOffDeviceSize:superFields])
		if version == 1 {
			clear(img[superOffBlobIDMask : superOffBlobIDMask+8])
		}
		patch(superOffVersion, version)(img)
		m := loadGolden(t, &ramDevice{data: img})
		require.EqualValues(t, len(img), m.super.size)
		require.Empty(t, m.findings)
		require.Equal(t, version == 1, m.scanned)
		requireSameBlobs(t, before, m, nil)
	}
}

func TestTornSuperblock(t *testing.T) {
	s, err := layoutSuper(64<<20, 1<<20, 0, 512, "TORN")
	require.NoError(t, err)
	legal := legalStates
	images := make([][]byte, len(legal))
	for i, st := range legal {
		s.version, s.clean = st.version, st.clean
		images[i] = make([]byte, superSize)
		require.NoError(t, s.marshal(images[i]))
	}
	for i, first := range legal {
		for j, last := range legal {
			b := append(bytes.Clone(images[i][:superSize-512]), images[j][superSize-512:]...)
			var got superblock
			require.NoError(t, got.unmarshalTorn(b, legal))
			require.Equal(t, first, got.state())
			require.Equal(t, last, got.crcCandidate)
			require.Equal(t, i != j, got.torn)
			if i != j {
				require.ErrorIs(t, got.unmarshal(b), ErrCorrupt, "SPDK's rule")
			}
			b[superOffClusterSize]++
			require.ErrorIs(t, got.unmarshalTorn(b, legal), ErrCorrupt, "another field changed too")
		}
	}
	b := bytes.Clone(images[0])
	binary.LittleEndian.PutUint32(b[superOffVersion:], 9)
	require.ErrorIs(t, new(superblock).unmarshalTorn(b, legal), ErrCorrupt, "a state that is not legal")
}

// metadataBytes lists the ranges of an image that hold metadata in use: superblock, masks and used pages.
func metadataBytes(m *metadata) [][2]int64 {
	list := [][2]int64{{0, superSize}}
	for _, r := range []region{m.super.pageMask, m.super.clusterMask, m.super.blobIDMask} {
		list = append(list, [2]int64{r.offset(), r.bytes()})
	}
	m.usedPages.ranges(func(first, count int) {
		list = append(list, [2]int64{m.super.pageOffset(pageIndex(first)), int64(count) * pageSize})
	})
	return list
}

// TestFlippedByteAnywhere flips one bit of the metadata at a time: the store is refused with an error that says where,
// or the damage is isolated and reported and every other blob is as before.
func TestFlippedByteAnywhere(t *testing.T) {
	r := rng(t)
	for _, file := range []string{"bs-basic.img.gz", "bs-dirty.img.gz", "lvs-thin.img.gz"} {
		img := readGolden(t, file)
		dev := &ramDevice{data: img}
		before := loadGolden(t, dev)
		for _, span := range metadataBytes(before) {
			for off := span[0] + r.Int64N(16); off < span[0]+span[1]; off += 1 + r.Int64N(400) {
				bit := byte(1) << r.IntN(8)
				img[off] ^= bit
				requireIsolated(t, dev, before, off)
				img[off] ^= bit
			}
		}
	}
}

func requireIsolated(t *testing.T, dev *ramDevice, before *metadata, off int64) {
	t.Helper()
	super, err := readSuper(dev, nil)
	if off < superSize {
		requirePlaced(t, err, 0, superSize)
		return
	}
	require.NoError(t, err)
	m, err := loadMetadata(dev, &super, loadOptions{masks: super.clean == 1})
	require.NoError(t, err)
	if off < before.super.md.offset() {
		requireMaskDamage(t, m, before, off)
		return
	}
	requireBlobDamage(t, m, before, off)
}

// requirePlaced checks that an error names the device and an offset within the range.
func requirePlaced(t *testing.T, err error, first, end int64) {
	t.Helper()
	require.Error(t, err)
	require.Contains(t, err.Error(), "ram:test")
	var c *CorruptError
	if errors.As(err, &c) {
		require.GreaterOrEqual(t, c.Offset, first)
		require.Less(t, c.Offset, end)
		require.NotEmpty(t, c.Expected)
		require.NotEmpty(t, c.Got)
	}
}

// requireMaskDamage: masks of a dirty store mean nothing; a clean store's are reported and rebuilt, and no blob is lost.
// A mask that names a blob too many reports that blob as damaged.
func requireMaskDamage(t *testing.T, m, before *metadata, off int64) {
	t.Helper()
	requireSameBlobs(t, before, m, nil)
	if before.super.clean == 0 {
		return
	}
	require.NotEmpty(t, m.findings, "flip at %d", off)
	requirePlaced(t, m.findings[0].Err, 0, before.super.md.offset())
	require.LessOrEqual(t, len(m.bad), 1)
	if len(m.bad) == 0 {
		require.True(t, masksOf(before).matches(m))
	}
}

func requireBlobDamage(t *testing.T, m, before *metadata, off int64) {
	t.Helper()
	page := (off - before.super.md.offset()) / pageSize * pageSize
	page += before.super.md.offset()
	victims := make(map[BlobID]bool)
	for _, b := range m.bad {
		victims[b.id] = true
		requirePlaced(t, b.err, page, page+pageSize)
	}
	if len(m.bad) == 0 {
		// The page's own id was hit in a dirty store, where no mask remembers it: it is reported as a damaged page.
		require.NotEmpty(t, m.findings, "flip at %d", off)
		requirePlaced(t, m.findings[0].Err, page, page+pageSize)
		victims[blobIDOf(pageIndex((page-before.super.md.offset())/pageSize))] = true
	}
	require.Len(t, victims, 1)
	requireSameBlobs(t, before, m, victims)
}

// requireSameBlobs checks that both hold the same blobs but for the victims, which are gone.
func requireSameBlobs(t *testing.T, before, after *metadata, victims map[BlobID]bool) {
	t.Helper()
	for id, s := range before.blobs.all() {
		got := after.blobs.get(id)
		if victims[id] {
			require.Nil(t, got)
			continue
		}
		require.NotNil(t, got, "%v", id)
		require.True(t, s.equal(got), "%v changed", id)
	}
}

// testStore builds images of small stores from blob states.
type testStore struct {
	super superblock
	img   []byte
}

func newTestStore(t testing.TB) *testStore {
	t.Helper()
	s, err := layoutSuper(4<<20, 32<<10, 0, 512, "TEST")
	require.NoError(t, err)
	st := &testStore{super: s, img: make([]byte, 4<<20)}
	require.NoError(t, s.marshal(st.img[:superSize]))
	return st
}

// put encodes a blob into the image with its chain on the given pages.
func (st *testStore) put(t testing.TB, s *blobState, chain ...pageIndex) {
	t.Helper()
	pages, err := s.encode(func() (pageIndex, error) {
		if len(chain) == 0 {
			return 0, ErrNoSpace
		}
		p := chain[0]
		chain = chain[1:]
		return p, nil
	})
	require.NoError(t, err)
	for _, p := range pages {
		copy(st.page(p.index), p.data)
	}
}

func (st *testStore) page(p pageIndex) []byte {
	off := st.super.pageOffset(p)
	return st.img[off : off+pageSize]
}

func (st *testStore) load(t testing.TB) *metadata {
	t.Helper()
	m, err := loadMetadata(&ramDevice{data: st.img}, &st.super, loadOptions{})
	require.NoError(t, err)
	return m
}

// bigBlob is a blob whose chain has three pages.
func bigBlob(p pageIndex, first clusterIndex) *blobState {
	s := &blobState{id: blobIDOf(p), extents: []extent{{first, 2}}}
	for i := range 3 {
		s.xattrs.set(fmt.Sprintf("x%d", i), bytes.Repeat([]byte{byte(i)}, 3000))
	}
	return s
}

func TestDamagedBlobs(t *testing.T) {
	const first = 24 // a data cluster of the test store
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, st *testStore)
		text   string
	}{
		{"root crc", func(t *testing.T, st *testStore) { st.page(1)[100] ^= 1 }, "metadata page 1: crc"},
		{"chain page lost", func(t *testing.T, st *testStore) { clear(st.page(2)) }, "metadata page 2: crc"},
		{"chain page of another blob", func(t *testing.T, st *testStore) { copy(st.page(2), st.page(11)) }, "blob id: expected 0x100000001"},
		{"chain page out of order", func(t *testing.T, st *testStore) { copy(st.page(2), st.page(3)) }, "sequence: expected 1, got 2"},
		{"chain beyond the region", func(t *testing.T, st *testStore) {
			binary.LittleEndian.PutUint32(st.page(2)[pageOffNext:], 1<<20)
			sealPage(st.page(2))
		}, "metadata page number: expected below"},
		{"chain that loops", func(t *testing.T, st *testStore) {
			binary.LittleEndian.PutUint32(st.page(2)[pageOffNext:], 1)
			sealPage(st.page(2))
		}, "sequence: expected 2, got 0"},
		{"descriptor too long", func(t *testing.T, st *testStore) {
			binary.LittleEndian.PutUint32(st.page(1)[pageHeaderSize+1:], 5000)
			sealPage(st.page(1))
		}, "descriptor length"},
		{"descriptor length wraps", func(t *testing.T, st *testStore) {
			binary.LittleEndian.PutUint32(st.page(1)[pageHeaderSize+1:], 0xffffffff)
			sealPage(st.page(1))
		}, "descriptor length"},
		{"cluster beyond the store", func(t *testing.T, st *testStore) {
			st.put(t, &blobState{id: blobIDOf(1), extents: []extent{{120, 20}}})
		}, "extent: expected clusters"},
		{"cluster of the metadata", func(t *testing.T, st *testStore) {
			st.put(t, &blobState{id: blobIDOf(1), extents: []extent{{1, 1}}})
		}, "extent: expected clusters"},
		{"no flags", func(t *testing.T, st *testStore) {
			clear(st.page(1)[pageHeaderSize:pageBodyEnd])
			binary.LittleEndian.PutUint32(st.page(1)[pageOffNext:], uint32(noPage))
			sealPage(st.page(1))
		}, "a flags descriptor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := newTestStore(t)
			st.put(t, bigBlob(1, first), 2, 3)
			st.put(t, bigBlob(10, first+2), 11, 12)
			good := st.load(t)
			require.Empty(t, good.bad)
			require.Equal(t, good.super.mdClusters()+4, good.usedClusters.count())
			c.damage(t, st)
			m := st.load(t)
			require.Len(t, m.bad, 1)
			require.Equal(t, blobIDOf(1), m.bad[0].id)
			require.ErrorIs(t, m.bad[0].err, ErrCorrupt)
			require.ErrorContains(t, m.bad[0].err, c.text)
			require.ErrorContains(t, m.bad[0].err, "ram:test: offset ")
			require.True(t, good.blobs.get(blobIDOf(10)).equal(m.blobs.get(blobIDOf(10))))
			require.True(t, m.usedPages.test(1), "a bad blob's page is not given away")
		})
	}
}

// TestBadBlobKeepsItsClusters: what the intact pages of a bad blob name is not allocatable.
func TestBadBlobKeepsItsClusters(t *testing.T) {
	st := newTestStore(t)
	s := bigBlob(1, 20)
	st.put(t, s, 2, 3)
	st.page(1)[200] ^= 4
	m := st.load(t)
	require.Len(t, m.bad, 1)
	for _, c := range []int{20, 21} {
		require.True(t, m.usedClusters.test(c), "cluster %d", c)
	}
	for _, p := range []int{1, 2, 3} {
		require.True(t, m.usedPages.test(p), "page %d", p)
	}
}

// TestDamagedExtentTable damages a blob that SPDK stored with an extent table: what the table and its page say must agree.
func TestDamagedExtentTable(t *testing.T) {
	img := readGolden(t, "bs-512.img.gz")
	super, err := readSuper(&ramDevice{data: img}, nil)
	require.NoError(t, err)
	s := loadGolden(t, &ramDevice{data: img}).blobs.get(blobIDOf(0))
	extentPage := super.pageOffset(s.extentPages[0])
	body := extentPage + pageHeaderSize + descHeaderSize
	for _, c := range []struct {
		name string
		off  int64
		v    uint32
		text string
	}{
		{"first cluster", body, 512, "extent page: first cluster: expected 0, got 512"},
		{"length", body - 4, 4, "descriptor length: expected at most"},
		{"odd length", body - 4, 7, "padding length: expected 0"},
		{"type", extentPage + pageHeaderSize, descXattr, "descriptor type: expected one extent page"},
		{"cluster", body + extentPageHeaderSize, 1 << 30, "extent: expected clusters 2 to 95"},
		{"id", extentPage + 4, 2, "blob id: expected a valid one"},
		{"sequence", extentPage + pageOffSeq, 1, "sequence: expected 0, got 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			damaged := bytes.Clone(img)
			binary.LittleEndian.PutUint32(damaged[c.off:], c.v)
			sealPage(damaged[extentPage : extentPage+pageSize])
			m := loadGolden(t, &ramDevice{data: damaged})
			require.Len(t, m.bad, 1)
			require.Equal(t, s.id, m.bad[0].id)
			require.ErrorContains(t, m.bad[0].err, c.text)
		})
	}
}

func TestSharedClusters(t *testing.T) {
	st := newTestStore(t)
	st.put(t, &blobState{id: blobIDOf(1), extents: []extent{{20, 4}}})
	st.put(t, &blobState{id: blobIDOf(2), extents: []extent{{30, 1}, {23, 2}}})
	st.put(t, &blobState{id: blobIDOf(3), extents: []extent{{40, 1}}})
	m := st.load(t)
	require.Empty(t, m.bad)
	for _, p := range []pageIndex{1, 2} {
		err := m.blobs.get(blobIDOf(p)).refused
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "cluster 23")
		require.ErrorContains(t, err, fmt.Sprintf("offset %d", st.super.pageOffset(p)))
	}
	require.NoError(t, m.blobs.get(blobIDOf(3)).refused)
	require.Len(t, m.findings, 2)
	require.Equal(t, st.super.mdClusters()+7, m.usedClusters.count())
}

func TestUnknownFlagsRefuseOneBlob(t *testing.T) {
	st := newTestStore(t)
	foreign := bigBlob(1, 20)
	foreign.flags.invalid = 1 << 40
	st.put(t, foreign, 5, 6)
	st.put(t, &blobState{id: blobIDOf(2), flags: blobFlags{dataRO: 1 << 40, mdRO: 1 << 40}})
	m := st.load(t)
	require.Empty(t, m.bad)
	require.ErrorIs(t, m.blobs.get(blobIDOf(1)).refused, ErrUnsupportedBlob)
	require.True(t, foreign.equal(m.blobs.get(blobIDOf(1))), "what it owns is known")
	require.Equal(t, 4, m.usedPages.count())
	require.Equal(t, st.super.mdClusters()+2, m.usedClusters.count())
	require.NoError(t, m.blobs.get(blobIDOf(2)).refused)
	require.True(t, m.blobs.get(blobIDOf(2)).flags.dataReadOnly())
	require.True(t, m.blobs.get(blobIDOf(2)).flags.mdReadOnly())
}

// TestForeignBlobKeepsWhatItOwns: a blob that a newer program made is refused, and its chain and clusters stay its own, also
// where this program cannot follow the chain.
func TestForeignBlobKeepsWhatItOwns(t *testing.T) {
	for _, broken := range []bool{false, true} {
		dev := mallocDevice(t, 16<<20)
		super, st := ownerOf(t, dev, true)
		st.flags.invalid |= 1 << 40
		rest := st.pages[1:]
		pages, err := st.encode(func() (pageIndex, error) { p := rest[0]; rest = rest[1:]; return p, nil })
		require.NoError(t, err)
		if broken {
			pages[1].data[100] ^= 1
		}
		for _, p := range pages {
			require.NoError(t, dev.Write(p.data, super.pageOffset(p.index)))
		}
		s, err := Open(dev, OpenOptions{})
		require.NoError(t, err)
		_, err = s.Blob(st.id)
		require.ErrorIs(t, err, ErrUnsupportedBlob)
		eachCluster(&st, func(c clusterIndex) { require.True(t, s.space.used.test(int(c)), "cluster %d", c) })
		for _, p := range st.pages {
			require.True(t, s.pages.test(int(p)), "md page %d", p)
		}
		useSpace(t, s)
		for _, p := range pages {
			got := make([]byte, pageSize)
			require.NoError(t, dev.Read(got, super.pageOffset(p.index)))
			require.True(t, bytes.Equal(p.data, got), "md page %d", p.index)
		}
	}
}

// TestUnreadableSector: a page that the device cannot read costs the blob it belongs to and no other.
func TestUnreadableSector(t *testing.T) {
	st := newTestStore(t)
	st.put(t, &blobState{id: blobIDOf(1), extents: []extent{{20, 1}}})
	st.put(t, &blobState{id: blobIDOf(2), extents: []extent{{21, 1}}})
	errMedium := errors.New("medium error")
	bad := st.super.pageOffset(1)
	dev := &ramDevice{data: st.img, fail: func(off int64, n int) error {
		if off < bad+pageSize && bad < off+int64(n) {
			return errMedium
		}
		return nil
	}}
	m, err := loadMetadata(dev, &st.super, loadOptions{})
	require.NoError(t, err)
	require.Len(t, m.bad, 1)
	require.Equal(t, blobIDOf(1), m.bad[0].id)
	require.ErrorIs(t, m.bad[0].err, errMedium)
	require.NotNil(t, m.blobs.get(blobIDOf(2)))

	dev.fail = func(int64, int) error { return errMedium }
	_, err = loadMetadata(dev, &st.super, loadOptions{})
	require.ErrorIs(t, err, errMedium)
}

func TestOverlayHidesDevice(t *testing.T) {
	st := newTestStore(t)
	st.put(t, &blobState{id: blobIDOf(1), extents: []extent{{20, 1}}})
	st.put(t, &blobState{id: blobIDOf(2), extents: []extent{{21, 1}}})
	newer := &blobState{id: blobIDOf(1), extents: []extent{{30, 3}}}
	pages, err := newer.encode(nil)
	require.NoError(t, err)
	overlay := map[pageIndex][]byte{1: pages[0].data, 2: zeroPage}
	m, err := loadMetadata(&ramDevice{data: st.img}, &st.super, loadOptions{highWater: 3, overlay: overlay})
	require.NoError(t, err)
	require.Empty(t, m.bad)
	require.Equal(t, 1, m.blobs.len())
	require.True(t, newer.equal(m.blobs.get(blobIDOf(1))))
	require.False(t, m.usedPages.test(2))
}

// TestEncodeLimits walks the sizes around what fits a page and a chain.
func TestEncodeLimits(t *testing.T) {
	s := &blobState{id: blobIDOf(1)}
	s.xattrs.set("n", make([]byte, maxXattrSize))
	_, err := s.encode(func() (pageIndex, error) { return 2, nil })
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "at most")
	s.xattrs.set("n", make([]byte, maxXattrSize-1))
	pages, err := s.encode(func() (pageIndex, error) { return 2, nil })
	require.NoError(t, err)
	require.Len(t, pages, 2)

	_, err = s.encode(func() (pageIndex, error) { return 0, ErrNoSpace })
	require.ErrorIs(t, err, ErrNoSpace)
	require.Equal(t, []pageIndex{1, 2}, s.pages, "an error changes nothing")

	for _, n := range []int{503, 504, 505, 508, 509, 1011, 1012, 1013, 5000} {
		s := &blobState{id: blobIDOf(1)}
		for i := range n {
			s.appendExtent(extent{clusterIndex(2 * (i + 10)), 1})
		}
		next := pageIndex(1)
		pages, err := s.encode(func() (pageIndex, error) { next++; return next, nil })
		require.NoError(t, err)
		back, err := decodeBlob(pagesOf(pages), 1, newBlobMemory())
		require.NoError(t, err, "%d runs", n)
		require.True(t, s.equal(back))
	}
}

func TestTruncateAndAppend(t *testing.T) {
	s := &blobState{}
	for _, e := range []extent{{10, 2}, {12, 3}, {0, 4}, {0, 1}, {40, 2}} {
		s.appendExtent(e)
	}
	require.Equal(t, []extent{{10, 5}, {0, 5}, {40, 2}}, s.extents)
	require.EqualValues(t, 12, s.clusters())
	require.EqualValues(t, 7, s.allocatedClusters())
	require.Equal(t, []extent{{41, 1}}, s.truncate(11))
	require.Equal(t, []extent{{13, 2}, {40, 1}}, s.truncate(3))
	require.Equal(t, []extent{{10, 3}}, s.extents)
	require.Empty(t, s.truncate(3))
	require.Equal(t, []extent{{10, 3}}, s.truncate(0))
	require.EqualValues(t, 0, s.clusters())
}

func TestBitmapAgainstModel(t *testing.T) {
	r := rng(t)
	for range 200 {
		n := r.IntN(200)
		b, model := newBitmap(n), make([]bool, n)
		for range 3 * n {
			i := r.IntN(n+4) - 2
			in := i >= 0 && i < n
			if r.IntN(2) == 0 {
				require.Equal(t, in && !model[i], b.set(i))
			} else {
				require.Equal(t, in && model[i], b.clear(i))
			}
			if in {
				model[i] = b.test(i)
			}
		}
		requireBitmap(t, &b, model)
	}
}

func requireBitmap(t *testing.T, b *bitmap, model []bool) {
	t.Helper()
	ones, runs := 0, 0
	for i, v := range model {
		require.Equal(t, v, b.test(i))
		if v {
			ones++
			if i == 0 || !model[i-1] {
				runs++
			}
			require.Equal(t, i, b.nextSet(i))
		} else {
			require.Equal(t, i, b.nextClear(i))
		}
	}
	require.Equal(t, ones, b.count())
	b.ranges(func(int, int) { runs-- })
	require.Zero(t, runs)
	require.Equal(t, -1, b.nextSet(len(model)))
}

func TestBlobIDText(t *testing.T) {
	id, err := ParseBlobID("0x100000002")
	require.NoError(t, err)
	require.Equal(t, blobIDOf(2), id)
	require.Equal(t, "0x100000002", id.String())
	for _, s := range []string{"", "2", "0x200000001", "0x1ffffffff", "x"} {
		_, err := ParseBlobID(s)
		require.ErrorContains(t, err, "blob id", s)
	}
	require.False(t, strings.Contains(noBlob.String(), "-"))
}
