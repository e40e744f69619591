package nvme

import (
	"fmt"

	"github.com/blobkv/blobkv/nvme/spec"
)

// piWalk visits the blocks of a buffer with their protection information: data the guard covers, then the information.
func (n *NamespaceInfo) piWalk(buf, meta []byte, visit func(block int, covered [2][]byte, pi []byte) error) error {
	if n.Protection == 0 {
		return fmt.Errorf("namespace %d has no protection information: %w", n.ID, ErrInvalid)
	}
	blocks := len(buf) / int(n.unit)
	if len(buf)%int(n.unit) != 0 || !n.Extended && len(meta) != blocks*n.MetaSize {
		return fmt.Errorf("%d bytes and %d of metadata in blocks of %d and %d: %w", len(buf), len(meta), n.unit, n.MetaSize, ErrInvalid)
	}
	at := n.MetaSize - spec.PISize
	if n.ProtectFirst {
		at = 0
	}
	for i := range blocks {
		block := buf[i*int(n.unit) : (i+1)*int(n.unit)]
		data, md := block[:n.BlockSize], block[n.BlockSize:]
		if !n.Extended {
			md = meta[i*n.MetaSize : (i+1)*n.MetaSize]
		}
		// The guard covers the metadata before the information, too (NVM 1.0, section 5.2.1.1).
		if err := visit(i, [2][]byte{data, md[:at]}, md[at:at+spec.PISize]); err != nil {
			return err
		}
	}
	return nil
}

// refTag is the reference tag of a block: that of the first one, which goes up block by block, but with type 3.
func (n *NamespaceInfo) refTag(p Protect, block int) uint32 {
	if n.Protection == 3 {
		return p.RefTag
	}
	return p.RefTag + uint32(block)
}

func guard(covered [2][]byte) uint16 { return spec.CRC16(spec.CRC16(0, covered[0]), covered[1]) }

// InsertProtection fills in the protection information of the blocks in buf and meta (nil in an extended format), which
// are then written with the same p.
func (n *NamespaceInfo) InsertProtection(buf, meta []byte, p Protect) error {
	return n.piWalk(buf, meta, func(i int, covered [2][]byte, pi []byte) error {
		spec.PI{Guard: guard(covered), App: p.App, RefTag: n.refTag(p, i)}.Put(pi)
		return nil
	})
}

// CheckProtection checks what p.Flags asks for (spec.PRCHK*) of blocks that were read; ErrProtection names the first block
// that is wrong.
func (n *NamespaceInfo) CheckProtection(buf, meta []byte, p Protect) error {
	return n.piWalk(buf, meta, func(i int, covered [2][]byte, b []byte) error {
		var pi spec.PI
		if pi.Get(b); pi.Escaped(n.Protection) {
			return nil
		}
		switch {
		case p.Flags&spec.PRCHKGuard != 0 && pi.Guard != guard(covered):
			return fmt.Errorf("block %d: guard %#04x, want %#04x: %w", i, pi.Guard, guard(covered), ErrProtection)
		case p.Flags&spec.PRCHKApp != 0 && pi.App&p.AppMask != p.App&p.AppMask:
			return fmt.Errorf("block %d: application tag %#04x, want %#04x: %w", i, pi.App, p.App, ErrProtection)
		case p.Flags&spec.PRCHKRef != 0 && n.Protection != 3 && pi.RefTag != n.refTag(p, i):
			return fmt.Errorf("block %d: reference tag %d, want %d: %w", i, pi.RefTag, n.refTag(p, i), ErrProtection)
		}
		return nil
	})
}
