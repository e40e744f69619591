package blobstore

import (
	"encoding/binary"
	"fmt"
)

// mdPage is the image of one metadata page.
type mdPage struct {
	index pageIndex
	data  []byte // pageSize bytes
}

// pageSource gives the metadata pages of a store.
type pageSource interface {
	// page is the content of metadata page p, pageSize bytes that the caller does not change.
	page(p pageIndex) ([]byte, error)
	// place completes an error found in page p with the device and the page's offset.
	place(err error, p pageIndex) error
}

// decodeBlob reads the blob whose root is page root: its chain and the extent pages it refers to. Everything is
// checked but what needs other blobs (clusters owned twice). A blob with unknown invalid-flags has refused set and
// decodes as far as it can, so that what it owns is known. The state's memory comes from mem.
func decodeBlob(src pageSource, root pageIndex, mem *blobMemory) (*blobState, error) {
	d := blobDecoder{src: src, state: &mem.scratch, mem: mem}
	d.state.restart(blobIDOf(root))
	next := root
	for seq := uint32(0); next != noPage; seq++ {
		p, err := d.chainPage(next, seq)
		if d.state.refused != nil && err != nil {
			return mem.keep(d.state), nil
		}
		if err != nil {
			return nil, err
		}
		next = p
	}
	if d.state.refused != nil {
		return mem.keep(d.state), nil
	}
	if err := d.finish(); err != nil {
		return nil, src.place(err, root)
	}
	return mem.keep(d.state), nil
}

// restart empties a state and keeps the memory of its lists.
func (s *blobState) restart(id BlobID) {
	*s = blobState{
		id: id, xattrs: s.xattrs[:0], internal: s.internal[:0], extents: s.extents[:0],
		pages: s.pages[:0], extentPages: s.extentPages[:0],
	}
}

// isBlobRoot reports whether page p holds the root of a blob: a valid page, sequence 0, whose id names p. Extent
// pages carry sequence 0 too, but the id of the blob they belong to.
func isBlobRoot(b []byte, p pageIndex) bool {
	var h pageHeader
	return h.unmarshal(b) == nil && h.seq == 0 && h.id == blobIDOf(p) && !isExtentPage(b)
}

// blobDecoder holds what decodeBlob has seen so far.
type blobDecoder struct {
	src   pageSource
	mem   *blobMemory
	state *blobState // its memory is that of the next blob too
	table bool       // an extent table was seen
	rle   bool       // an RLE descriptor was seen
	flags bool       // a flags descriptor was seen

	tableClusters uint64 // clusters that the table announces
}

// chainPage decodes one page of the chain and returns the next.
func (d *blobDecoder) chainPage(p pageIndex, seq uint32) (pageIndex, error) {
	b, err := d.src.page(p)
	if err != nil {
		return 0, err
	}
	var h pageHeader
	if err := h.unmarshal(b); err != nil {
		return 0, d.src.place(err, p)
	}
	if err := h.check(d.state.id, seq); err != nil {
		return 0, d.src.place(err, p)
	}
	d.state.pages = append(d.state.pages, p)
	if err := eachDescriptor(b, d.descriptor); err != nil {
		return 0, d.src.place(err, p)
	}
	return h.next, nil
}

// descriptor applies one descriptor; off is its offset in the page, for errors.
func (d *blobDecoder) descriptor(off int, kind byte, body []byte) error {
	switch kind {
	case descFlags:
		return d.flagsDescriptor(off, body)
	case descXattr:
		return d.xattrDescriptor(off, body, &d.state.xattrs)
	case descXattrInternal:
		return d.xattrDescriptor(off, body, &d.state.internal)
	case descExtentRLE:
		return d.rleDescriptor(off, body)
	case descExtentTable:
		return d.tableDescriptor(off, body)
	case descExtentPage:
		return corruptf(off, "descriptor type", "one of a blob's chain", "an extent page")
	}
	// SPDK skips unknown descriptors: a change that matters sets an invalid-flag.
	return nil
}

func (d *blobDecoder) flagsDescriptor(off int, body []byte) error {
	if d.flags {
		return corruptf(off, "flags", "one descriptor", "a second one")
	}
	d.flags = true
	if err := d.state.flags.unmarshal(body); err != nil {
		return shift(err, off+descHeaderSize)
	}
	if unknown := d.state.flags.invalid &^ knownInvalidFlags; unknown != 0 {
		d.state.refused = fmt.Errorf("%w: it needs features %#x of a newer version", ErrUnsupportedBlob, unknown)
	}
	return nil
}

func (d *blobDecoder) xattrDescriptor(off int, body []byte, list *xattrList) error {
	name, value, err := unmarshalXattr(body)
	if err != nil {
		return shift(err, off+descHeaderSize)
	}
	if list.hasName(name) {
		return corruptf(off, "xattr name", "each name once", fmt.Sprintf("%q twice", name))
	}
	*list = append(*list, xattr{d.mem.string(name), d.mem.value(value)})
	return nil
}

func (d *blobDecoder) rleDescriptor(off int, body []byte) error {
	if d.table {
		return corruptf(off, "extents", "a table or runs", "both")
	}
	d.rle = true
	if len(body)%rleEntrySize != 0 {
		return corruptf(off+1, "extent runs: length", "a multiple of 8", fmt.Sprint(len(body)))
	}
	for i := 0; i < len(body); i += rleEntrySize {
		e := getExtent(body[i:])
		if err := d.addExtent(off+descHeaderSize+i, e); err != nil {
			return err
		}
	}
	return nil
}

// addExtent appends a run that must lie on the device; offset 0 of the device is not checked here but by the load,
// which knows the store's size.
func (d *blobDecoder) addExtent(off int, e extent) error {
	if e.allocated() && uint64(e.start)+uint64(e.count) > 1<<32 {
		return corruptf(off, "extent", "clusters below 2^32", fmt.Sprintf("%d+%d", e.start, e.count))
	}
	d.state.appendExtent(e)
	return nil
}

// tableDescriptor reads the extent table and the extent pages it names. A table too long for one page goes on in the
// next one with a descriptor of its own.
func (d *blobDecoder) tableDescriptor(off int, body []byte) error {
	if d.rle {
		return corruptf(off, "extents", "a table or runs", "both")
	}
	if len(body) < tableHeaderSize || (len(body)-tableHeaderSize)%tableEntrySize != 0 {
		return corruptf(off+1, "extent table: length", "8 bytes and 8 per entry", fmt.Sprint(len(body)))
	}
	n := binary.LittleEndian.Uint64(body)
	if d.table && n != d.tableClusters {
		return corruptf(off, "extent table: clusters", fmt.Sprint(d.tableClusters), fmt.Sprint(n))
	}
	if n > 1<<32 {
		return corruptf(off, "extent table: clusters", "at most 2^32", fmt.Sprint(n))
	}
	d.table, d.tableClusters = true, n
	for i := tableHeaderSize; i < len(body); i += tableEntrySize {
		if err := d.tableEntry(off+descHeaderSize+i, body[i:]); err != nil {
			return err
		}
	}
	return nil
}

// tableEntry reads one entry: an extent page, or a number of them that do not exist (page 0).
func (d *blobDecoder) tableEntry(off int, b []byte) error {
	page, count := pageIndex(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:])
	have := uint64(d.state.clusters())
	left := d.tableClusters - min(d.tableClusters, have)
	if left == 0 {
		return corruptf(off, "extent table", fmt.Sprintf("entries for %d clusters", d.tableClusters), "more")
	}
	if page == 0 {
		n := min(left, uint64(count)*extentPageClusters)
		d.state.appendExtent(extent{0, uint32(min(n, 1<<32-1))})
		return nil
	}
	if count != 1 {
		return corruptf(off+4, "extent table: pages", "1", fmt.Sprint(count))
	}
	return d.extentPage(off, page, have, min(left, extentPageClusters))
}

// extentPage reads extent page p, which maps want clusters of the blob from cluster first on.
func (d *blobDecoder) extentPage(off int, p pageIndex, first, want uint64) error {
	b, err := d.src.page(p)
	if err != nil {
		return err
	}
	body, bodyOff, err := unmarshalExtentPage(b)
	if err != nil {
		return d.src.place(err, p)
	}
	if start := uint64(binary.LittleEndian.Uint32(body)); start != first {
		err := corruptf(bodyOff, "extent page: first cluster", fmt.Sprint(first), fmt.Sprint(start))
		return d.src.place(err, p)
	}
	entries := body[extentPageHeaderSize:]
	if uint64(len(entries)/4) < want {
		err := corruptf(bodyOff, "extent page: clusters", fmt.Sprint(want), fmt.Sprint(len(entries)/4))
		return d.src.place(err, p)
	}
	d.state.extentPages = append(d.state.extentPages, p)
	for i := uint64(0); i < want; i++ {
		d.state.appendExtent(extent{clusterIndex(binary.LittleEndian.Uint32(entries[4*i:])), 1})
	}
	return nil
}

// finish checks what only the whole chain shows.
func (d *blobDecoder) finish() error {
	s := d.state
	if !d.flags {
		return corruptf(pageHeaderSize, "blob", "a flags descriptor", "none")
	}
	if d.table && uint64(s.clusters()) != d.tableClusters {
		return corruptf(pageHeaderSize, "extent table", fmt.Sprintf("%d clusters", d.tableClusters), fmt.Sprint(s.clusters()))
	}
	s.refused = refusal(s)
	return nil
}
