package blobstore

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The images in testdata/golden were written by SPDK v25.05.1; manifest.json says what each holds, as SPDK itself and an
// independent decoder read it.

type goldenManifest struct {
	Images []goldenImage `json:"images"`
}

type goldenImage struct {
	File        string `json:"file"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`
	BlockSize   int    `json:"block_size"`
	Kind        string `json:"kind"`
	Clean       uint32 `json:"clean"`
	Super       goldenSuper
	Masks       goldenMasks  `json:"masks_on_disk"`
	Blobs       []goldenBlob `json:"blobs"`
	OnDiskBlobs []goldenBlob `json:"on_disk_blobs"`
	After       *struct {
		Masks goldenMasks `json:"masks"`
	} `json:"after_recovery"`
}

type goldenSuper struct {
	Version          uint32 `json:"version"`
	Clean            uint32 `json:"clean"`
	SuperBlob        string `json:"super_blob"`
	ClusterSize      uint32 `json:"cluster_size"`
	PageMaskStart    uint32 `json:"used_page_mask_start"`
	PageMaskLen      uint32 `json:"used_page_mask_len"`
	ClusterMaskStart uint32 `json:"used_cluster_mask_start"`
	ClusterMaskLen   uint32 `json:"used_cluster_mask_len"`
	MDStart          uint32 `json:"md_start"`
	MDLen            uint32 `json:"md_len"`
	Type             string `json:"bstype"`
	BlobIDMaskStart  uint32 `json:"used_blobid_mask_start"`
	BlobIDMaskLen    uint32 `json:"used_blobid_mask_len"`
	Size             uint64 `json:"size"`
	IOUnitSize       uint32 `json:"io_unit_size"`
	MDPageSize       uint32 `json:"md_page_size"`
}

type goldenMasks struct {
	Pages    goldenMask `json:"used_page_mask"`
	Clusters goldenMask `json:"used_cluster_mask"`
	BlobIDs  goldenMask `json:"used_blobid_mask"`
}

type goldenMask struct {
	Bits   int      `json:"length_bits"`
	Count  int      `json:"count"`
	Ranges [][2]int `json:"set_ranges"`
}

type goldenBlob struct {
	ID        string `json:"id"`
	Clusters  int64  `json:"num_clusters"`
	Allocated int64  `json:"allocated_clusters"`
	Thin      bool   `json:"thin"`
	Flags     struct {
		Invalid uint64 `json:"invalid"`
		DataRO  uint64 `json:"data_ro"`
		MDRO    uint64 `json:"md_ro"`
	} `json:"flags"`
	ReadOnly    bool                   `json:"read_only"`
	Format      string                 `json:"extent_format"`
	Pages       []pageIndex            `json:"md_pages"`
	Extents     [][3]int64             `json:"extents"`
	Xattrs      map[string]goldenXattr `json:"xattrs"`
	Internal    map[string]goldenXattr `json:"internal_xattrs"`
	Parent      *string                `json:"parent"`
	ContentSHA  string                 `json:"content_sha256"`
	ContentSize int64                  `json:"content_length"`
}

type goldenXattr struct {
	Len    int     `json:"len"`
	Hex    *string `json:"hex"`
	SHA256 *string `json:"sha256"`
}

func (i *goldenImage) UnmarshalJSON(b []byte) error {
	type plain goldenImage
	aux := struct {
		*plain
		Superblock goldenSuper `json:"superblock"`
	}{plain: (*plain)(i)}
	err := json.Unmarshal(b, &aux)
	i.Super = aux.Superblock
	return err
}

func loadManifest(t testing.TB) []goldenImage {
	t.Helper()
	b, err := os.ReadFile("testdata/golden/manifest.json")
	require.NoError(t, err)
	var m goldenManifest
	require.NoError(t, json.Unmarshal(b, &m))
	require.NotEmpty(t, m.Images)
	return m.Images
}

// readGolden decompresses an image.
func readGolden(t testing.TB, file string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata/golden", file))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	st, err := f.Stat()
	require.NoError(t, err)
	var size [4]byte // of the content: the last four bytes of the file
	_, err = f.ReadAt(size[:], st.Size()-4)
	require.NoError(t, err)
	b := make([]byte, binary.LittleEndian.Uint32(size[:]))
	_, err = io.ReadFull(z, b)
	require.NoError(t, err)
	return b
}

// ramDevice is an mdDevice over memory.
type ramDevice struct {
	data []byte
	fail func(off int64, n int) error // nil: never
}

func (d *ramDevice) Name() string { return "ram:test" }
func (d *ramDevice) Size() int64  { return int64(len(d.data)) }

func (d *ramDevice) Read(p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > d.Size() {
		return fmt.Errorf("read of %d at %d beyond %d", len(p), off, d.Size())
	}
	if d.fail != nil {
		if err := d.fail(off, len(p)); err != nil {
			return err
		}
	}
	copy(p, d.data[off:])
	return nil
}

// loadGolden loads the metadata of an image as an opener would.
func loadGolden(t testing.TB, dev mdDevice) *metadata {
	t.Helper()
	super, err := readSuper(dev, nil)
	require.NoError(t, err)
	m, err := loadMetadata(dev, &super, loadOptions{masks: super.clean == 1})
	require.NoError(t, err)
	return m
}

// TestGolden runs every check on every image.
func TestGolden(t *testing.T) {
	checks := []struct {
		name string
		run  func(t *testing.T, g goldenImage, img []byte)
	}{
		{"superblock", goldenSuperblock},
		{"layout", goldenLayout},
		{"masks", goldenMaskBytes},
		{"blobs", goldenBlobs},
		{"rebuilt masks", goldenRebuiltMasks},
		{"descriptors", goldenDescriptors},
		{"encode", goldenEncode},
		{"check", goldenCheck},
	}
	for _, g := range loadManifest(t) {
		t.Run(g.File, func(t *testing.T) {
			t.Parallel()
			img := readGolden(t, g.File)
			require.Equal(t, g.Size, int64(len(img)))
			for _, c := range checks {
				t.Run(c.name, func(t *testing.T) { c.run(t, g, img) })
			}
			sum := sha256.Sum256(img)
			require.Equal(t, g.SHA256, hex.EncodeToString(sum[:]), "reading must not change the image")
		})
	}
}

func goldenSuperblock(t *testing.T, g goldenImage, img []byte) {
	s, err := readSuper(&ramDevice{data: img}, nil)
	require.NoError(t, err)
	w := g.Super
	require.Equal(t, w.SuperBlob, s.superBlob.String())
	require.Equal(t, w.Type, s.typeName())
	require.Equal(t, []uint32{w.Version, w.Clean, w.ClusterSize, w.IOUnitSize, w.MDPageSize},
		[]uint32{s.version, s.clean, s.clusterSize, s.ioUnitSize, s.mdPageSize})
	require.Equal(t, w.Size, s.size)
	require.Equal(t, region{w.PageMaskStart, w.PageMaskLen}, s.pageMask)
	require.Equal(t, region{w.ClusterMaskStart, w.ClusterMaskLen}, s.clusterMask)
	require.Equal(t, region{w.BlobIDMaskStart, w.BlobIDMaskLen}, s.blobIDMask)
	require.Equal(t, region{w.MDStart, w.MDLen}, s.md)

	again := make([]byte, superSize)
	require.NoError(t, s.marshal(again))
	require.True(t, bytes.Equal(img[:superSize], again), "re-encoded superblock differs")
}

// goldenLayout checks that a store of the same parameters is laid out as SPDK did.
func goldenLayout(t *testing.T, g goldenImage, img []byte) {
	want, err := readSuper(&ramDevice{data: img}, nil)
	require.NoError(t, err)
	got, err := layoutSuper(int64(want.size), int(want.clusterSize), want.mdPages(), int(want.ioUnitSize), want.typeName())
	require.NoError(t, err)
	got.clean, got.superBlob, got.crcCandidate = want.clean, want.superBlob, want.crcCandidate
	require.Equal(t, want, got)
}

func goldenMaskBytes(t *testing.T, g goldenImage, img []byte) {
	dev := &ramDevice{data: img}
	s, err := readSuper(dev, nil)
	require.NoError(t, err)
	m, err := readMasks(dev, &s)
	require.NoError(t, err)
	requireMask(t, g.Masks.Pages, &m.pages)
	requireMask(t, g.Masks.Clusters, &m.clusters)
	requireMask(t, g.Masks.BlobIDs, &m.blobIDs)
	for _, k := range []struct {
		kind maskKind
		at   region
		bits *bitmap
	}{{maskPages, s.pageMask, &m.pages}, {maskClusters, s.clusterMask, &m.clusters}, {maskBlobIDs, s.blobIDMask, &m.blobIDs}} {
		b := make([]byte, k.at.bytes())
		require.NoError(t, marshalMask(b, k.kind, k.bits))
		require.True(t, bytes.Equal(img[k.at.offset():k.at.offset()+k.at.bytes()], b), "re-encoded %v differs", k.kind)
	}
}

func requireMask(t *testing.T, want goldenMask, got *bitmap) {
	t.Helper()
	require.Equal(t, want.Bits, got.len())
	require.Equal(t, want.Count, got.count())
	var ranges [][2]int
	got.ranges(func(first, count int) { ranges = append(ranges, [2]int{first, count}) })
	require.Equal(t, want.Ranges, ranges)
}

// goldenBlobs loads every image, clean or dirty, and compares each blob with the manifest.
func goldenBlobs(t *testing.T, g goldenImage, img []byte) {
	m := loadGolden(t, &ramDevice{data: img})
	require.Empty(t, m.bad)
	want := g.Blobs
	if g.OnDiskBlobs != nil {
		want = g.OnDiskBlobs
	}
	require.Equal(t, len(want), m.blobs.len())
	for _, w := range want {
		requireBlob(t, w, m)
	}
}

func requireBlob(t *testing.T, w goldenBlob, m *metadata) {
	t.Helper()
	id, err := strconv.ParseUint(w.ID, 0, 64)
	require.NoError(t, err)
	s := m.blobs.get(BlobID(id))
	require.NotNil(t, s, w.ID)
	require.Equal(t, w.Clusters, s.clusters())
	require.Equal(t, w.Allocated, s.allocatedClusters())
	require.Equal(t, blobFlags{w.Flags.Invalid, w.Flags.DataRO, w.Flags.MDRO}, s.flags)
	require.Equal(t, w.ReadOnly, s.flags.dataReadOnly())
	require.Equal(t, w.Format == "table", s.flags.invalid&flagExtentTable != 0)
	require.Equal(t, w.Pages, s.pages)
	require.Equal(t, w.Extents, manifestExtents(s))
	requireXattrs(t, w.Xattrs, s.xattrs)
	requireXattrs(t, w.Internal, s.internal)
	requireParent(t, w.Parent, s)
	refused := w.Thin || len(w.Internal) > 0
	require.Equal(t, refused, s.refused != nil, "%v: %v", w.ID, s.refused)
}

func requireParent(t *testing.T, want *string, s *blobState) {
	t.Helper()
	parent, ok := s.parent()
	require.Equal(t, want != nil, ok)
	if ok {
		require.Equal(t, *want, parent.String())
	}
}

// manifestExtents are a blob's extents in the manifest's form: logical cluster, cluster on the device, count.
func manifestExtents(s *blobState) [][3]int64 {
	list := make([][3]int64, 0)
	at := int64(0)
	for _, e := range s.extents {
		list = append(list, [3]int64{at, int64(e.start), int64(e.count)})
		at += int64(e.count)
	}
	return list
}

func requireXattrs(t *testing.T, want map[string]goldenXattr, got xattrList) {
	t.Helper()
	require.Len(t, got, len(want))
	for name, w := range want {
		v, ok := got.get(name)
		require.True(t, ok, name)
		require.Len(t, v, w.Len)
		if w.Hex != nil {
			require.Equal(t, *w.Hex, hex.EncodeToString(v))
		} else {
			sum := sha256.Sum256(v)
			require.Equal(t, *w.SHA256, hex.EncodeToString(sum[:]))
		}
	}
}

// goldenCheck runs the whole check on the image and exports every blob through the store. Nothing is written.
func goldenCheck(t *testing.T, g goldenImage, img []byte) {
	dev, read := imageDevice(t, img)
	r, err := Check(dev, CheckOptions{})
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, r.Print(&out))
	require.True(t, r.OK(), out.String())
	require.Contains(t, out.String(), ": OK\n")
	want := g.Blobs
	if g.OnDiskBlobs != nil {
		want = g.OnDiskBlobs
	}
	require.Equal(t, len(want), r.Blobs)
	require.Zero(t, r.Bad)
	require.Equal(t, g.Super.Type, r.Info.Type)

	s, err := Open(dev, OpenOptions{ReadOnly: true})
	require.NoError(t, err)
	require.Len(t, s.IDs(), len(want))
	for _, w := range want {
		requireExport(t, s, w)
	}
	require.NoError(t, s.Close())
	require.True(t, bytes.Equal(img, read()), "reading must not change the device")
}

func requireExport(t *testing.T, s *Store, w goldenBlob) {
	t.Helper()
	id, err := ParseBlobID(w.ID)
	require.NoError(t, err)
	blob, err := s.Blob(id)
	if w.Thin || len(w.Internal) > 0 {
		require.ErrorIs(t, err, ErrUnsupportedBlob)
		info, err := s.Stat(id)
		require.NoError(t, err)
		require.ErrorIs(t, info.Refused, ErrUnsupportedBlob)
		return
	}
	require.NoError(t, err)
	require.NotEmpty(t, w.ContentSHA)
	require.Equal(t, w.ContentSize, blob.Size())
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for off := int64(0); off < blob.Size(); off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), blob.Size()-off)]
		require.NoError(t, blob.Read(p, off))
		h.Write(p)
	}
	require.Equal(t, w.ContentSHA, hex.EncodeToString(h.Sum(nil)), "content of %s", w.ID)
}

// goldenRebuiltMasks compares the masks rebuilt from the blobs with those that SPDK keeps: of a clean store the ones
// on disk, of a dirty one those that SPDK's own recovery writes.
func goldenRebuiltMasks(t *testing.T, g goldenImage, img []byte) {
	if g.Kind == "bs-interrupted" {
		t.Skip("SPDK's recovery changes the blobs of this one")
	}
	m := loadGolden(t, &ramDevice{data: img})
	require.Equal(t, g.Clean == 0, m.scanned, "a clean store is loaded by its masks")
	want := g.Masks
	if g.Clean == 0 {
		require.NotNil(t, g.After)
		want = g.After.Masks
	}
	k := masksOf(m)
	requireMask(t, want.Pages, &k.pages)
	requireMask(t, want.Clusters, &k.clusters)
	requireMask(t, want.BlobIDs, &k.blobIDs)
}

// goldenDescriptors re-encodes every metadata page from its header and descriptors.
func goldenDescriptors(t *testing.T, g goldenImage, img []byte) {
	m := loadGolden(t, &ramDevice{data: img})
	pages := 0
	m.usedPages.ranges(func(first, count int) {
		for p := pageIndex(first); p < pageIndex(first+count); p++ {
			off := m.super.pageOffset(p)
			requireSamePage(t, img[off:off+pageSize])
			pages++
		}
	})
	require.Equal(t, m.usedPages.count(), pages)
}

func requireSamePage(t *testing.T, b []byte) {
	t.Helper()
	var h pageHeader
	require.NoError(t, h.unmarshal(b))
	again := make([]byte, pageSize)
	off := pageHeaderSize
	require.NoError(t, eachDescriptor(b, func(o int, kind byte, body []byte) error {
		require.Equal(t, off, o)
		again[off] = kind
		binary.LittleEndian.PutUint32(again[off+1:], uint32(len(body)))
		reencodeBody(t, again[off+descHeaderSize:][:len(body)], kind, body)
		off += descHeaderSize + len(body)
		return nil
	}))
	h.marshal(again)
	require.True(t, bytes.Equal(b, again), "re-encoded page differs")
}

// reencodeBody decodes a descriptor's body and encodes it again into b.
func reencodeBody(t *testing.T, b []byte, kind byte, body []byte) {
	t.Helper()
	switch kind {
	case descFlags:
		var f blobFlags
		require.NoError(t, f.unmarshal(body))
		f.marshal(b)
	case descXattr, descXattrInternal:
		name, value, err := unmarshalXattr(body)
		require.NoError(t, err)
		marshalXattr(b, xattr{string(name), value})
	case descExtentRLE:
		for i := 0; i < len(body); i += rleEntrySize {
			putExtent(b[i:], getExtent(body[i:]))
		}
	default:
		copy(b, body) // tables and extent pages are read, never written
	}
}

// goldenEncode encodes every blob with runs, decodes the pages and finds the same blob; a blob that SPDK stored as
// runs gives SPDK's bytes.
func goldenEncode(t *testing.T, g goldenImage, img []byte) {
	m := loadGolden(t, &ramDevice{data: img})
	for _, s := range m.blobs.all() {
		requireRoundTrip(t, m, s, img)
	}
}

func requireRoundTrip(t *testing.T, m *metadata, s *blobState, img []byte) {
	t.Helper()
	old, wasRuns := s.clone(), s.flags.invalid&flagExtentTable == 0
	chain := append([]pageIndex(nil), s.pages[1:]...)
	next := pageIndex(m.super.mdPages())
	pages, err := s.encode(func() (pageIndex, error) {
		if len(chain) == 0 {
			next++
			return next, nil
		}
		p := chain[0]
		chain = chain[1:]
		return p, nil
	})
	require.NoError(t, err)
	require.Equal(t, pagesNeeded(s), len(pages))
	back, err := decodeBlob(pagesOf(pages), s.id.page(), newBlobMemory())
	require.NoError(t, err)
	old.flags.invalid &^= flagExtentTable
	require.True(t, old.equal(back), "%v changed", s.id)
	require.Equal(t, s.pages, back.pages)
	if wasRuns {
		for _, p := range pages {
			off := m.super.pageOffset(p.index)
			require.True(t, bytes.Equal(img[off:off+pageSize], p.data), "%v: page %d differs from SPDK's", s.id, p.index)
		}
	}
}

// memPages is a pageSource over a map.
type memPages map[pageIndex][]byte

func pagesOf(list []mdPage) memPages {
	m := make(memPages)
	for _, p := range list {
		m[p.index] = p.data
	}
	return m
}

func (m memPages) page(p pageIndex) ([]byte, error) {
	if b, ok := m[p]; ok {
		return b, nil
	}
	return nil, errNoPage
}

func (m memPages) place(err error, p pageIndex) error {
	return at(err, "memory", int64(p)*pageSize, fmt.Sprintf("metadata page %d", p))
}

// pageCount is how many pages encode needs, found out by encoding.
func (s *blobState) pageCount() int {
	n := pageIndex(0)
	w := pageWriter{id: s.id, alloc: func() (pageIndex, error) { n++; return n, nil }}
	if s.writeDescriptors(&w) != nil {
		return 0
	}
	return len(w.pages)
}
