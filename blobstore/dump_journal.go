package blobstore

import (
	"fmt"
	"io"

	"github.com/blobkv/blobkv/bdev"
)

// DumpJournal prints what the journal of the store on a device holds: headers, image area, and every frame and record
// that a recovery would apply. It only reads, also from a store that Open refuses.
func DumpJournal(w io.Writer, dev *bdev.Device) error {
	super, err := readSuper(dev, legalStates)
	if err != nil {
		return err
	}
	st, tag, err := findJournal(dev, &super)
	if err != nil {
		return err
	}
	mem := newMemory()
	defer mem.Close()
	ji, err := readJournal(dev, &super, st, tag, mem, true)
	if err != nil {
		return err
	}
	p := &printer{w: w}
	ji.dump(p)
	if end, err := ji.replay(dumpVisitor{p}); err != nil {
		p.line("damaged: %v", err)
	} else {
		p.line("end: transaction %d, next frame %d at position %d: %v", end.lsn, end.sequence, end.position, end.stopped)
	}
	return p.err
}

// dump prints everything but the frames.
func (ji *journalImage) dump(p *printer) {
	geo := ji.file.geo
	p.line("journal: blob %v, uuid %v, %d blocks: %d for images, ring of %d",
		blobIDOf(ji.page), ji.tag.uuid, geo.blocks, geo.images, geo.ring)
	for i := range ji.headers {
		h := &ji.headers[i]
		if err := ji.headerErrs[i]; err != nil {
			p.line("header %d: %v", i, err)
			continue
		}
		p.line("header %d: generation %d, checkpoint %d, start %d, sequence %d, md high water %d, session %#x, closed %v",
			i, h.generation, h.checkpoint, h.start, h.sequence, h.highWater, h.session, h.closed)
	}
	switch {
	case ji.finish:
		p.line("images: checkpoint %d of generation %d is complete but not in place: %d pages",
			ji.base.checkpoint, ji.base.generation, len(ji.images))
	case ji.imageErr != nil:
		p.line("images: %v", ji.imageErr)
	}
}

// dumpVisitor prints what a replay visits.
type dumpVisitor struct{ p *printer }

func (d dumpVisitor) frame(h *frameHeader, off int64) error {
	d.p.line("frame %d at position %d (offset %d): %d records from %d, %d bytes, confirmed %d, durable %d",
		h.sequence, h.position, off, h.records, h.first, h.payload, h.confirmed, h.durable)
	return d.p.err
}

func (d dumpVisitor) record(r record, confirmed bool) error {
	for i := range r.ops {
		d.p.line("transaction %d: %s", r.lsn, r.ops[i].describe(confirmed))
	}
	return d.p.err
}

// describe is one line about an operation.
func (op *journalOp) describe(confirmed bool) string {
	s := fmt.Sprintf("%v blob %v", op.kind, op.id)
	switch op.kind {
	case opTruncate:
		s += fmt.Sprintf(" to %d clusters", op.clusters)
	case opExtend:
		s += fmt.Sprintf(" by %v", op.runs)
	case opSetXattr, opRemoveXattr:
		s += fmt.Sprintf(" %q (%d bytes)", op.name, len(op.value))
	case opSetVouched:
		s += fmt.Sprintf(" %q (%d bytes) for %d bytes at %d, confirmed %v", op.name, len(op.value), op.vouch.Length, op.vouch.Offset, confirmed)
	}
	return s
}
