package vfio

import (
	"fmt"
)

// MSI-X entries (PCI local bus 3.0, section 6.8.2.6 to 6.8.2.9): message address (64 bits), message data, vector control,
// of which bit 0 masks the vector. A masked vector keeps its interrupt pending.
const (
	msixEntryBytes = 16
	msixControl    = 12
	msixMasked     = 1
	lastBAR        = 5
)

// msix is where a device has its MSI-X table and the pending bits.
type msix struct {
	entries    int // 0: the device has no MSI-X
	tableBAR   int
	pendingBAR int
	table      area
	pending    area
}

// decodeMSIX reads the capability: its id and the next one's offset (8 bits each), message control (16 bits), then offset
// and BAR of the table and of the pending bits.
func decodeMSIX(b []byte) msix {
	entries := uint64(little.Uint16(b[2:])&msixMaskCount) + 1
	table, pending := little.Uint32(b[4:]), little.Uint32(b[8:])
	return msix{
		entries:    int(entries),
		tableBAR:   int(table & msixMaskBAR),
		pendingBAR: int(pending & msixMaskBAR),
		table:      area{uint64(table &^ msixMaskBAR), entries * msixEntryBytes},
		pending:    area{uint64(pending &^ msixMaskBAR), (entries + 63) / 64 * 8},
	}
}

// inBAR are the areas that lie in a BAR.
func (m msix) inBAR(bar int) (areas []area) {
	if m.entries > 0 && m.tableBAR == bar {
		areas = append(areas, m.table)
	}
	if m.entries > 0 && m.pendingBAR == bar {
		areas = append(areas, m.pending)
	}
	return areas
}

// vectorTable is the MSI-X table as memory. The kernel writes it, but for the mask bits of vectors that are in use, which
// it leaves alone unless it moves an interrupt to another processor; it then unmasks the vector, at worst an interrupt too many.
type vectorTable struct {
	entries []byte
	control []uint32 // of each vector, as the kernel left it
	unmap   func() error
}

// openTable maps the table. It is nil where there is none or the kernel does not let it be mapped (before Linux 4.16).
func (t *Transport) openTable(m msix) *vectorTable {
	if m.entries == 0 {
		return nil
	}
	table := &vectorTable{control: make([]uint32, m.entries), unmap: func() error { return nil }}
	if m.tableBAR == barRegion {
		table.entries = t.bar.mapped(m.table.offset, int(m.table.size))
	} else {
		table.entries, table.unmap = t.mapTable(m)
	}
	if table.entries == nil {
		return nil
	}
	return table
}

// mapTable maps the pages of a BAR that the table lies in.
func (t *Transport) mapTable(m msix) (entries []byte, unmap func() error) {
	if m.tableBAR > lastBAR {
		return nil, nil
	}
	r, err := readRegion(t.kernel, t.fd, m.tableBAR)
	page := uint64(pageSize)
	start, end := m.table.offset/page*page, (m.table.end()+page-1)/page*page
	if err != nil || r.flags&regionMmap == 0 || r.sparse != nil || end > r.size {
		return nil, nil
	}
	b, err := t.kernel.mapDevice(t.fd, int64(r.offset+start), int(end-start))
	if err != nil {
		return nil, nil
	}
	return b[m.table.offset-start:][:m.table.size], func() error { return t.kernel.unmap(b) }
}

// learn notes what the kernel made of a vector.
func (v *vectorTable) learn(vector int) error {
	return guarded(func() { v.control[vector] = load32(v.at(vector)) &^ msixMasked })
}

func (v *vectorTable) mask(vector int, masked bool) error {
	word := v.control[vector]
	if masked {
		word |= msixMasked
	}
	return guarded(func() { store32(v.at(vector), word) })
}

func (v *vectorTable) at(vector int) []byte { return v.entries[vector*msixEntryBytes+msixControl:] }

func (v *vectorTable) close() error {
	if v == nil {
		return nil
	}
	if err := v.unmap(); err != nil {
		return fmt.Errorf("unmapping the MSI-X table: %w: %w", ErrKernel, err)
	}
	return nil
}

// Masks tells whether interrupts can be masked.
func (t *Transport) Masks() bool { return t.table != nil && t.irqs.index == irqMSIX }

// Mask holds a vector's interrupts back by its bit in the MSI-X table, or lets them through.
func (t *Transport) Mask(vector int, masked bool) error {
	done, err := t.use()
	if err != nil {
		return err
	}
	defer done()
	if !t.Masks() || vector < 0 || vector >= min(t.irqs.vectors, len(t.table.control)) {
		return fmt.Errorf("masking interrupt vector %d: %w", vector, ErrBadAccess)
	}
	if err := t.table.mask(vector, masked); err != nil {
		return t.lose(err.Error())
	}
	return nil
}
