package blobstore

import (
	"bytes"
	"errors"
	"testing"
)

// The fuzz targets feed each decoder bytes whose checksum is right, so that the checks behind it are reached. A decoder may
// refuse anything but must not panic, and what it accepts must survive encoding.

func FuzzSuperblock(f *testing.F) {
	f.Add(readGolden(f, "bs-basic.img.gz")[:superFields])
	f.Fuzz(func(t *testing.T, fields []byte) {
		b := make([]byte, superSize)
		copy(b[:superFields], fields)
		sealPage(b)
		var s superblock
		if err := s.unmarshal(b); err != nil {
			return
		}
		size := int64(64 << 20)
		s.normalise(size)
		if s.validate(size) != nil {
			return
		}
		again := make([]byte, superSize)
		if err := s.marshal(again); err != nil {
			t.Fatal(err)
		}
		var back superblock
		if err := back.unmarshal(again); err != nil || back != s {
			t.Fatalf("%+v read back as %+v: %v", s, back, err)
		}
		if s.mdClusters() > s.clusters()+1 || s.pageOffset(pageIndex(s.md.length-1))+pageSize > size {
			t.Fatalf("valid superblock with metadata beyond the end: %+v", s)
		}
	})
}

func FuzzMask(f *testing.F) {
	f.Add([]byte{1, 9, 0, 0, 0, 0xff, 1}, 9)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 0 || n > 1<<20 {
			return
		}
		m, err := unmarshalMask(b, maskClusters, n)
		if err != nil {
			return
		}
		again := make([]byte, len(b))
		if err := marshalMask(again, maskClusters, &m); err != nil || !bytes.Equal(b, again) {
			t.Fatalf("%x became %x: %v", b, again, err)
		}
	})
}

// FuzzBlob decodes a blob of up to two chain pages and one extent page.
func FuzzBlob(f *testing.F) {
	img := readGolden(f, "bs-basic.img.gz")
	m := loadGolden(f, &ramDevice{data: img})
	for _, s := range m.blobs.all() {
		f.Add(chainBodies(img, m, s))
	}
	f.Fuzz(func(t *testing.T, bodies []byte) {
		s, err := decodeBlob(fuzzPages(bodies), 0, newBlobMemory())
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, errNoPage) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		if errors.Is(s.refused, ErrUnsupportedBlob) && s.flags.invalid&^knownInvalidFlags != 0 {
			return
		}
		requireFuzzRoundTrip(t, s)
	})
}

func requireFuzzRoundTrip(t *testing.T, s *blobState) {
	for _, x := range append(s.xattrs.clone(), s.internal...) {
		if checkXattr(x.name, x.value) != nil {
			return // SPDK stores names that we do not write
		}
	}
	next := pageIndex(0)
	pages, err := s.encode(func() (pageIndex, error) { next++; return next, nil })
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeBlob(pagesOf(pages), 0, newBlobMemory())
	if err != nil {
		t.Fatal(err)
	}
	if !s.equal(back) {
		t.Fatalf("%+v read back as %+v", s, back)
	}
}

var errNoPage = errors.New("no such page")

// chainBodies are the descriptors of a blob's pages, one page body after the other.
func chainBodies(img []byte, m *metadata, s *blobState) []byte {
	var b []byte
	for _, p := range append(append([]pageIndex(nil), s.pages...), s.extentPages...) {
		off := m.super.pageOffset(p) + pageHeaderSize
		b = append(b, img[off:off+pageBodySize]...)
	}
	return b
}

// fuzzPages makes pages of bodies: a chain, except for bodies that begin like an extent page.
func fuzzPages(bodies []byte) memPages {
	pages := make(memPages)
	for p := pageIndex(0); len(bodies) > 0 && p < 4; p++ {
		b := make([]byte, pageSize)
		n := copy(b[pageHeaderSize:pageBodyEnd], bodies)
		bodies = bodies[n:]
		h := pageHeader{id: blobIDOf(0), seq: uint32(p), next: p + 1}
		if len(bodies) == 0 || bodies[0] == descExtentPage {
			h.next = noPage
		}
		if isExtentPage(b) {
			h.seq = 0
		}
		h.marshal(b)
		pages[p] = b
	}
	return pages
}

// FuzzLoad loads a whole metadata region of fuzzed, sealed pages.
func FuzzLoad(f *testing.F) {
	f.Add([]byte{descFlags, flagsSize, 0, 0, 0}, uint8(3))
	f.Fuzz(func(t *testing.T, body []byte, masks uint8) {
		st := newTestStore(t)
		for p := range pageIndex(4) {
			b := st.page(p)
			n := copy(b[pageHeaderSize:pageBodyEnd], body)
			body = body[n:]
			h := pageHeader{id: blobIDOf(p), next: noPage}
			h.marshal(b)
		}
		copy(st.img[st.super.pageMask.offset():], []byte{masks, 128, 0, 0, 0, masks})
		m, err := loadMetadata(&ramDevice{data: st.img}, &st.super, loadOptions{masks: masks&1 == 1})
		if err != nil {
			t.Fatal(err)
		}
		if m.usedClusters.count() < st.super.mdClusters() {
			t.Fatal("the metadata's own clusters are free")
		}
	})
}
