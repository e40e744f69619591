package blobstore

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Human text of what is on the device, as much of it as can be decoded, valid or not. Nothing here trusts its input.

// DumpSuper prints the superblock of a device: every field, whether the CRC fits and what the checks say.
func DumpSuper(w io.Writer, dev mdDevice) error {
	b := make([]byte, superSize)
	if err := dev.Read(b, 0); err != nil {
		return fmt.Errorf("%s: reading the superblock at offset 0: %w", dev.Name(), err)
	}
	var s superblock
	s.getFields(b)
	p := printer{w: w}
	p.line("superblock at offset 0 of %s", dev.Name())
	p.line("  signature        %q", b[:len(superSignature)])
	p.line("  version          %s", versionText(s.version))
	p.line("  clean            %d", s.clean)
	p.line("  type             %q", s.typeName())
	p.line("  super blob       %s", superBlobText(s.superBlob))
	p.line("  size             %d bytes", s.size)
	p.line("  cluster size     %d bytes", s.clusterSize)
	p.line("  io unit          %d bytes", s.ioUnitSize)
	p.line("  metadata page    %d bytes", s.mdPageSize)
	p.line("  used-page mask   %v", s.pageMask)
	p.line("  used-cluster mask %v", s.clusterMask)
	p.line("  used-blob-id mask %v", s.blobIDMask)
	p.line("  metadata region  %v", s.md)
	p.line("  crc              %s", hex32(binary.LittleEndian.Uint32(b[superCRCOffset:])))
	p.line("  checks           %s", checksText(superChecks(b, dev.Size())))
	return p.err
}

// superChecks is what reading the superblock of a device of that size would say.
func superChecks(b []byte, deviceSize int64) error {
	var s superblock
	if err := s.unmarshalTorn(b, legalStates); err != nil {
		return err
	}
	s.normalise(deviceSize)
	return s.validate(deviceSize)
}

func versionText(v uint32) string {
	if v == versionDirty {
		return fmt.Sprintf("%d, open for writing (%#x)", layoutVersion(v), v)
	}
	return fmt.Sprint(v)
}

func superBlobText(id BlobID) string {
	if id == noBlob {
		return "none"
	}
	return id.String()
}

func checksText(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// DumpPage prints metadata page p of a device with all its descriptors.
func DumpPage(w io.Writer, dev mdDevice, p int64) error {
	super, err := readSuper(dev, legalStates)
	if err != nil {
		return err
	}
	if p < 0 || p >= int64(super.mdPages()) {
		return fmt.Errorf("%s: %w: metadata page %d of %d", dev.Name(), ErrOutOfRange, p, super.mdPages())
	}
	b := make([]byte, pageSize)
	off := super.pageOffset(pageIndex(p))
	if err := dev.Read(b, off); err != nil {
		return fmt.Errorf("%s: metadata page %d at offset %d: %w", dev.Name(), p, off, err)
	}
	out := printer{w: w}
	out.line("metadata page %d at offset %d of %s", p, off, dev.Name())
	out.page(b)
	return out.err
}

// printer writes lines and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) page(b []byte) {
	if isZeroPage(b) {
		p.line("  zeros: never used or freed")
		return
	}
	le := binary.LittleEndian
	var h pageHeader
	p.line("  crc       %s", checksText(h.unmarshal(b)))
	p.line("  blob      %v", BlobID(le.Uint64(b)))
	p.line("  sequence  %d", le.Uint32(b[pageOffSeq:]))
	if next := pageIndex(le.Uint32(b[pageOffNext:])); next == noPage {
		p.line("  next      none")
	} else {
		p.line("  next      page %d", next)
	}
	err := eachDescriptor(b, func(off int, kind byte, body []byte) error {
		p.line("  %4d  %s", off, descriptorText(kind, body))
		return nil
	})
	if err != nil {
		p.line("  %v", err)
	}
}

// descriptorText is one descriptor on one line.
func descriptorText(kind byte, body []byte) string {
	switch kind {
	case descFlags:
		var f blobFlags
		if err := f.unmarshal(body); err != nil {
			return "flags: " + err.Error()
		}
		return fmt.Sprintf("flags: invalid %#x, data_ro %#x, md_ro %#x", f.invalid, f.dataRO, f.mdRO)
	case descXattr:
		return xattrText("xattr", body)
	case descXattrInternal:
		return xattrText("internal xattr", body)
	case descExtentRLE:
		return "extents:" + runsText(body)
	case descExtentTable:
		return tableText(body)
	case descExtentPage:
		return extentPageText(body)
	}
	return fmt.Sprintf("type %d, %d bytes", kind, len(body))
}

func xattrText(what string, body []byte) string {
	name, value, err := unmarshalXattr(body)
	if err != nil {
		return what + ": " + err.Error()
	}
	const shown = 32
	if len(value) > shown {
		return fmt.Sprintf("%s %q = %q… (%d bytes)", what, name, value[:shown], len(value))
	}
	return fmt.Sprintf("%s %q = %q", what, name, value)
}

func runsText(body []byte) string {
	var sb strings.Builder
	for ; len(body) >= rleEntrySize; body = body[rleEntrySize:] {
		e := getExtent(body)
		if e.allocated() {
			fmt.Fprintf(&sb, " %d+%d", e.start, e.count)
		} else {
			fmt.Fprintf(&sb, " -+%d", e.count)
		}
	}
	return sb.String()
}

func tableText(body []byte) string {
	if len(body) < tableHeaderSize {
		return fmt.Sprintf("extent table: %d bytes", len(body))
	}
	return fmt.Sprintf("extent table of %d clusters, pages:%s", binary.LittleEndian.Uint64(body), runsText(body[tableHeaderSize:]))
}

func extentPageText(body []byte) string {
	if len(body) < extentPageHeaderSize {
		return fmt.Sprintf("extent page: %d bytes", len(body))
	}
	var list []extent
	for i := extentPageHeaderSize; i+4 <= len(body); i += 4 {
		list = appendExtent(list, extent{getCluster(body[i:]), 1})
	}
	runs := make([]byte, rleEntrySize*len(list))
	for i, e := range list {
		putExtent(runs[i*rleEntrySize:], e)
	}
	return fmt.Sprintf("extent page from cluster %d:%s", binary.LittleEndian.Uint32(body), runsText(runs))
}
