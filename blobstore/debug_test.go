package blobstore

import (
	"fmt"

	"github.com/blobkv/blobkv/bdev"
)

type dumpVisitor struct{}

func (dumpVisitor) frame(h *frameHeader, off int64) error {
	fmt.Printf("  frame seq %d pos %d first %d records %d confirmed %d durable %d session %x\n", h.sequence, h.position, h.first, h.records, h.confirmed, h.durable, h.session)
	return nil
}
func (dumpVisitor) record(r record, c bool) error {
	fmt.Printf("  record %d confirmed %v:", r.lsn, c)
	for _, op := range r.ops {
		fmt.Printf(" %v %v %q", op.kind, op.id, op.name)
	}
	fmt.Println()
	return nil
}

func debugJournal(dev *bdev.Device) {
	super, err := readSuper(dev, legalStates)
	fmt.Printf("super %v %v torn %v err %v\n", super.version, super.clean, super.torn, err)
	st, tag, err := findJournal(dev, &super)
	if err != nil {
		fmt.Println(err)
		return
	}
	ji, err := readJournal(dev, &super, st, tag, nil, true)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, h := range ji.headers {
		fmt.Printf("slot %d gen %d ckpt %d start %d seq %d high %d session %x closed %v: %v\n", i, h.generation, h.checkpoint, h.start, h.sequence, h.highWater, h.session, h.closed, ji.headerErrs[i])
	}
	fmt.Printf("base gen %d finish %v imageErr %v images:", ji.base.generation, ji.finish, ji.imageErr)
	for _, p := range ji.images {
		fmt.Print(" ", p.index)
	}
	fmt.Println()
	tab := newPageTable(dev, &super, ji.overlay())
	for p := pageIndex(1); p < 5; p++ {
		st, err := decodeBlob(tab, p)
		if err == nil {
			v, _ := st.xattrs.get("len")
			fmt.Printf("  page %d (overlay %v): clusters %d pages %v len %v x %d\n", p, tab.overlay[p] != nil, st.clusters(), st.pages, v, len(st.xattrs))
		}
	}
	end, err := ji.replay(dumpVisitor{})
	fmt.Printf("end %+v err %v\n", end, err)
}
