package nvme

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/blobkv/blobkv/nvme/spec"
)

// judgeNamespace checks what the controller says of a namespace and works out what the driver goes by. Firmware lies: what
// would lead the driver beyond a buffer, or a caller to wrong data, is refused; limits that make no sense are ignored.
func (c *Controller) judgeNamespace(raw *rawNamespace, limits *commandLimits) (*NamespaceInfo, error) {
	if raw.unknown != nil {
		return nil, raw.unknown
	}
	id := &raw.ident
	n := &NamespaceInfo{ID: raw.id, CSI: raw.ids.CSI, Blocks: id.NSZE, Identify: *id, IDs: raw.ids, Format: id.Format()}
	if err := n.judgeFormat(raw); err != nil {
		return nil, err
	}
	n.MaxTransfer = int(c.maxBytes / uint64(n.unit) * uint64(n.BlockSize))
	if n.MaxTransfer == 0 {
		return nil, fmt.Errorf("a block of %d bytes, transfers of %d at most: %w", n.unit, c.maxBytes, ErrUnsupported)
	}
	n.judgeFeatures(c)
	n.judgeLimits(c, limits)
	if n.CSI == spec.CSIZoned {
		return n, n.judgeZones(c, raw, limits)
	}
	return n, nil
}

// judgeFormat checks size, block size, metadata and protection.
func (n *NamespaceInfo) judgeFormat(raw *rawNamespace) error {
	id := &raw.ident
	if n.CSI != spec.CSINVM && n.CSI != spec.CSIZoned {
		return fmt.Errorf("command set %d: %w", n.CSI, ErrUnsupported)
	}
	if id.NSZE == 0 {
		return fmt.Errorf("it has no blocks: %w", ErrNoNamespace)
	}
	if int(id.NLBAF) >= len(id.LBAF) || n.Format > int(id.NLBAF) {
		return fmt.Errorf("format %d of %d: %w", n.Format, int(id.NLBAF)+1, ErrProtocol)
	}
	f := id.LBAF[n.Format]
	if f.LBADS < 9 || f.LBADS > 16 {
		return fmt.Errorf("blocks of 2^%d bytes, want 512 bytes to 64 KiB: %w", f.LBADS, ErrUnsupported)
	}
	if id.NSZE > math.MaxInt64>>f.LBADS {
		return fmt.Errorf("%d blocks of %d bytes: %w", id.NSZE, 1<<f.LBADS, ErrProtocol)
	}
	n.BlockSize, n.MetaSize, n.Extended = 1<<f.LBADS, int(f.MS), id.Extended() && f.MS > 0
	n.unit = uint32(n.BlockSize)
	if n.Extended {
		n.unit += uint32(f.MS)
	}
	if bits.OnesCount32(n.unit) == 1 {
		n.unitShift = uint8(bits.TrailingZeros32(n.unit))
	}
	if n.Extended && n.MetaSize%4 != 0 {
		return fmt.Errorf("%d bytes of metadata behind each block are no dwords: %w", n.MetaSize, ErrUnsupported)
	}
	return n.judgeProtection(raw)
}

func (n *NamespaceInfo) judgeProtection(raw *rawNamespace) error {
	n.Protection, n.ProtectFirst = raw.ident.DPS&spec.DPSTypeMask, raw.ident.DPS&spec.DPSFirst != 0
	switch {
	case n.Protection == 0:
		return nil
	case n.Protection > 3:
		return fmt.Errorf("protection type %d: %w", n.Protection, ErrProtocol)
	case n.MetaSize < spec.PISize:
		return fmt.Errorf("protection type %d in %d bytes of metadata: %w", n.Protection, n.MetaSize, ErrProtocol)
	case raw.nvm.GuardFormat(n.Format) != 0:
		return fmt.Errorf("protection information with a guard of more than 16 bits: %w", ErrUnsupported)
	}
	return nil
}

// judgeFeatures takes over what makes a difference to who writes and deallocates.
func (n *NamespaceInfo) judgeFeatures(c *Controller) {
	id, ctrl := &n.Identify, c.ident.Load()
	n.Boundary = uint64(id.NOIOB)
	if c.quirks&QuirkStripe != 0 && n.Boundary == 0 {
		n.Boundary = c.stripeBlocks(n.BlockSize)
	}
	n.WriteCache = c.writeCache
	n.ReadOnly = id.NSATTR&spec.NSATTRWriteProtected != 0
	n.ZeroesOnUnmap = id.DLFEAT&spec.DLFEATReadMask == spec.DLFEATReadZeroes
	n.AtomicWrite, n.AtomicPower = uint64(ctrl.AWUN)+1, uint64(ctrl.AWUPF)+1
	if ctrl.FUSES&spec.FUSESCompareWrite != 0 {
		n.AtomicCompare = uint64(ctrl.ACWU) + 1
	}
	if id.NSFEAT&spec.NSFEATAtomics != 0 {
		n.AtomicWrite = max(n.AtomicWrite, uint64(id.NAWUN)+1)
		n.AtomicPower = max(n.AtomicPower, uint64(id.NAWUPF)+1)
		if n.AtomicCompare > 0 {
			n.AtomicCompare = max(n.AtomicCompare, uint64(id.NACWU)+1)
		}
		if id.NABSN != 0 { // within atomic boundaries only, which the driver does not keep to
			n.AtomicWrite = 1
		}
		if id.NABSPF != 0 {
			n.AtomicPower = 1
		}
	}
	n.UnmapGranule, n.WriteGranule = 1, 1
	if id.NSFEAT&spec.NSFEATOptimal != 0 {
		n.UnmapGranule, n.WriteGranule = uint64(id.NPDG)+1, uint64(id.NPWG)+1
	}
}

// stripeBlocks is the stripe of QuirkStripe.
func (c *Controller) stripeBlocks(blockSize int) uint64 {
	shift := c.vendorStripe
	if shift == 0 || shift > 16 {
		return 0
	}
	return max(pageSize<<shift/uint64(blockSize), 1)
}

// judgeLimits works out which operations there are and how much one command of each may carry.
func (n *NamespaceInfo) judgeLimits(c *Controller, limits *commandLimits) {
	ctrl, l := c.ident.Load(), &limits.nvm
	data := min(c.maxBytes/uint64(n.unit), maxBlocks)
	for _, op := range []Op{OpRead, OpWrite, OpCompare, OpZoneAppend} {
		n.perCmd[op] = data
	}
	unlimited := data // an old controller does not say, and some apply MDTS
	if limits.known {
		unlimited = maxBlocks
	}
	bs := uint64(n.BlockSize)
	n.perCmd[OpWriteZeroes] = sizeLimit(l.WZSL, bs, unlimited)
	n.perCmd[OpVerify] = sizeLimit(l.VSL, bs, unlimited)
	n.perCmd[OpWriteUncorrectable] = sizeLimit(l.WUSL, bs, unlimited)
	n.perCmd[OpDeallocate] = math.MaxUint32
	if l.DMRSL != 0 {
		n.perCmd[OpDeallocate] = uint64(l.DMRSL)
	}
	if l.DMSL != 0 {
		n.perCmd[OpDeallocate] = min(n.perCmd[OpDeallocate], l.DMSL)
	}
	n.trimRanges = 256
	if l.DMRL != 0 {
		n.trimRanges = uint64(l.DMRL)
	}
	if l.DMSL != 0 {
		n.trimRanges = min(n.trimRanges, max(l.DMSL/n.perCmd[OpDeallocate], 1))
	}
	n.perCmd[OpCompareAndWrite] = min(n.AtomicCompare, data)
	n.MaxCopy, n.MaxCopyRange = uint64(n.Identify.MCL), uint64(n.Identify.MSSRL)
	n.MaxCopyRanges = min(int(n.Identify.MSRC)+1, c.layout.listSize/spec.CopyRangeSize)
	n.judgeOps(c, ctrl)
}

// maxBlocks is what the 16 bits of NLB, zero-based, count.
const maxBlocks = 1 << 16

// sizeLimit is a limit given as log2 of pages, in blocks of some bytes.
func sizeLimit(shift uint8, blockBytes, none uint64) uint64 {
	if shift == 0 || shift > 40 {
		return none
	}
	return min(max(pageSize<<shift/blockBytes, 1), maxBlocks)
}

func (n *NamespaceInfo) judgeOps(c *Controller, ctrl *spec.IdentifyController) {
	have := func(bit uint16, ops ...Op) {
		if ctrl.ONCS&bit != 0 {
			for _, op := range ops {
				n.Ops |= 1 << op
			}
		}
	}
	n.Ops = 1<<OpRead | 1<<OpWrite | 1<<OpFlush | 1<<OpRaw
	have(spec.ONCSCompare, OpCompare)
	have(spec.ONCSDSM, OpDeallocate)
	have(spec.ONCSVerify, OpVerify)
	have(spec.ONCSUncorrect, OpWriteUncorrectable)
	if c.quirks&QuirkNoWriteZeroes == 0 {
		have(spec.ONCSWriteZeroes, OpWriteZeroes)
	}
	if n.MaxCopy > 0 && n.MaxCopyRange > 0 && ctrl.OCFS&1 != 0 {
		have(spec.ONCSCopy, OpCopy)
	}
	if n.AtomicCompare > 0 {
		have(spec.ONCSCompare, OpCompareAndWrite)
	}
	if n.CSI == spec.CSIZoned {
		n.Ops |= 1<<OpZoneAppend | 1<<OpZoneSend | 1<<OpZoneReceive
	}
}

// judgeZones checks what is said of zones.
func (n *NamespaceInfo) judgeZones(c *Controller, raw *rawNamespace, limits *commandLimits) error {
	n.ZoneBlocks = raw.zoned.LBAFE[n.Format&63].ZSZE
	if n.ZoneBlocks == 0 || n.ZoneBlocks > n.Blocks {
		return fmt.Errorf("zones of %d blocks in %d: %w", n.ZoneBlocks, n.Blocks, ErrProtocol)
	}
	n.MaxAppend = n.perCmd[OpZoneAppend]
	if s := limits.zoned.ZASL; s != 0 {
		n.MaxAppend = min(n.MaxAppend, sizeLimit(s, uint64(n.unit), maxBlocks)) // metadata between the blocks counts, as for MDTS
	}
	n.perCmd[OpZoneAppend] = n.MaxAppend
	n.MaxOpenZones, n.MaxActiveZones = raw.zoned.MOR+1, raw.zoned.MAR+1 // all ones becomes 0, no limit
	return nil
}
