package blobstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Metadata page: a link of a blob's chain, or an extent page.
//
//	OFFSET  SIZE  FIELD
//	     0     8  blob id
//	     8     4  sequence number in the chain, 0 for the root and for extent pages
//	    12     4  reserved, zero
//	    16  4072  descriptors (format_descriptor.go), then zeros
//	  4088     4  next page of the chain, 0xffffffff at its end
//	  4092     4  CRC-32C of bytes 0 to 4091
const (
	pageHeaderSize = 16
	pageBodySize   = 4072
	pageBodyEnd    = pageHeaderSize + pageBodySize

	pageOffSeq  = 8
	pageOffNext = 4088
	pageOffCRC  = 4092
)

// pageHeader is everything of a metadata page but its descriptors.
type pageHeader struct {
	id   BlobID
	seq  uint32
	next pageIndex
}

// unmarshal reads header and trailer of page b and checks the CRC.
func (h *pageHeader) unmarshal(b []byte) error {
	if len(b) != pageSize {
		return fmt.Errorf("metadata page: buffer of %d bytes, want %d", len(b), pageSize)
	}
	le := binary.LittleEndian
	want, got := crc32.Checksum(b[:pageOffCRC], castagnoli), le.Uint32(b[pageOffCRC:])
	if want != got {
		return corruptf(pageOffCRC, "crc", hex32(want), hex32(got))
	}
	h.id = BlobID(le.Uint64(b))
	h.seq = le.Uint32(b[pageOffSeq:])
	h.next = pageIndex(le.Uint32(b[pageOffNext:]))
	return nil
}

// check verifies that the page belongs to blob id and is number seq of its chain. A valid page in the wrong place is
// what a lost or misdirected write leaves.
func (h *pageHeader) check(id BlobID, seq uint32) error {
	if h.id != id {
		return corruptf(0, "blob id", id.String(), h.id.String())
	}
	if h.seq != seq {
		return corruptf(pageOffSeq, "sequence", fmt.Sprint(seq), fmt.Sprint(h.seq))
	}
	return nil
}

// marshal writes header, trailer and CRC around the descriptors that are in b already.
func (h *pageHeader) marshal(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b, uint64(h.id))
	le.PutUint32(b[pageOffSeq:], h.seq)
	le.PutUint32(b[pageOffSeq+4:], 0)
	le.PutUint32(b[pageOffNext:], uint32(h.next))
	le.PutUint32(b[pageOffCRC:], crc32.Checksum(b[:pageOffCRC], castagnoli))
}

// pageWriter fills the pages of a chain with descriptors.
type pageWriter struct {
	id    BlobID
	alloc func() (pageIndex, error)
	pages []mdPage
	used  int // bytes of the last page's body
}

// start opens the next page of the chain: the root, then what alloc gives.
func (w *pageWriter) start() error {
	index := w.id.page()
	if len(w.pages) > 0 {
		var err error
		if index, err = w.alloc(); err != nil {
			return err
		}
	}
	w.pages = append(w.pages, mdPage{index: index, data: make([]byte, pageSize)})
	w.used = 0
	return nil
}

// room is how many bytes a descriptor's body may have on the current page.
func (w *pageWriter) room() int { return pageBodySize - w.used - descHeaderSize }

// descriptor adds a descriptor to the current page, which has room for it, and returns its zeroed body.
func (w *pageWriter) descriptor(kind byte, size int) []byte {
	b := w.pages[len(w.pages)-1].data[pageHeaderSize+w.used:]
	b[0] = kind
	binary.LittleEndian.PutUint32(b[1:], uint32(size))
	w.used += descHeaderSize + size
	return b[descHeaderSize : descHeaderSize+size]
}

func (w *pageWriter) xattrs(kind byte, list xattrList) error {
	for _, x := range list {
		if err := checkXattr(x.name, x.value); err != nil {
			return err
		}
		size := xattrHeaderSize + len(x.name) + len(x.value)
		if size > w.room() {
			if err := w.start(); err != nil {
				return err
			}
		}
		marshalXattr(w.descriptor(kind, size), x)
	}
	return nil
}

// extents writes runs, as many to a descriptor as its page takes.
func (w *pageWriter) extents(list []extent) error {
	for len(list) > 0 {
		n := min(w.room()/rleEntrySize, len(list))
		if n <= 0 {
			if err := w.start(); err != nil {
				return err
			}
			continue
		}
		body := w.descriptor(descExtentRLE, n*rleEntrySize)
		for i, e := range list[:n] {
			putExtent(body[i*rleEntrySize:], e)
		}
		list = list[n:]
	}
	return nil
}

// finish links and seals the pages.
func (w *pageWriter) finish() []mdPage {
	for i := range w.pages {
		h := pageHeader{id: w.id, seq: uint32(i), next: noPage}
		if i+1 < len(w.pages) {
			h.next = w.pages[i+1].index
		}
		h.marshal(w.pages[i].data)
	}
	return w.pages
}

// looksLikeRoot reports whether a page whose CRC is wrong still names itself as the root of a blob.
func looksLikeRoot(b []byte, p pageIndex) bool {
	le := binary.LittleEndian
	return BlobID(le.Uint64(b)) == blobIDOf(p) && le.Uint32(b[pageOffSeq:]) == 0 && !isExtentPage(b)
}

// isSinglePageBlob reports whether a page that has not been checked looks like a blob all by itself: a root without a
// further page or an extent table.
func isSinglePageBlob(b []byte, p pageIndex) bool {
	le := binary.LittleEndian
	return looksLikeRoot(b, p) && pageIndex(le.Uint32(b[pageOffNext:])) == noPage &&
		b[pageHeaderSize] == descFlags && b[pageHeaderSize+descHeaderSize]&flagExtentTable == 0
}
