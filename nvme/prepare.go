package nvme

import (
	"fmt"
	"math"

	"github.com/blobkv/blobkv/nvme/spec"
)

// opTraits says how an operation becomes commands.
var opTraits = [numOps]struct {
	opcode uint8
	kind   opKind
}{
	OpRead:               {spec.CmdRead, kindData},
	OpWrite:              {spec.CmdWrite, kindData},
	OpCompare:            {spec.CmdCompare, kindData},
	OpCompareAndWrite:    {spec.CmdCompare, kindFused},
	OpZoneAppend:         {spec.CmdZoneAppend, kindSingle},
	OpWriteZeroes:        {spec.CmdWriteZeroes, kindRange},
	OpDeallocate:         {spec.CmdDSM, kindTrim},
	OpVerify:             {spec.CmdVerify, kindRange},
	OpWriteUncorrectable: {spec.CmdWriteUncorrect, kindRange},
	OpFlush:              {spec.CmdFlush, kindSingle},
	OpCopy:               {spec.CmdCopy, kindSingle},
	OpZoneSend:           {spec.CmdZoneSend, kindSingle},
	OpZoneReceive:        {spec.CmdZoneReceive, kindSingle},
	OpRaw:                {0, kindSingle},
}

// prepare checks a request and makes it ready to be issued.
func (r *Request) prepare() error {
	r.Err, r.Result = nil, 0
	if r.Op >= numOps {
		return ErrUnsupported
	}
	traits := &opTraits[r.Op]
	r.state = requestState{kind: traits.kind, opcode: traits.opcode, left: 1}
	if r.Op == OpRaw {
		return r.prepareRaw()
	}
	if r.NS == nil {
		return fmt.Errorf("no namespace is named: %w", ErrInvalid)
	}
	info := r.NS.info.Load()
	if info == nil {
		return ErrNoNamespace
	}
	if !info.Ops.Has(r.Op) {
		return ErrUnsupported
	}
	r.state.info, r.state.perCmd = info, info.perCmd[r.Op]
	if r.Op <= OpZoneAppend {
		return r.prepareData(info)
	}
	return r.prepareOther(info)
}

func (r *Request) prepareRaw() error {
	if r.NS != nil {
		r.state.info = r.NS.info.Load()
	}
	if address(r.Buf)&3 != 0 || address(r.Meta)&3 != 0 {
		return errUnalignedBuffer
	}
	return nil
}

var errUnalignedBuffer = fmt.Errorf("the buffer is not dword aligned: %w", ErrInvalid)

// modifiers are the bits of CDW12 that flags ask for.
func (r *Request) modifiers() (bits uint32) {
	if r.Flags&FlagFUA != 0 {
		bits |= spec.FUA
	}
	if r.Flags&FlagLimited != 0 {
		bits |= spec.LimitedRetry
	}
	return bits
}

func (r *Request) prepareData(info *NamespaceInfo) error {
	s := &r.state
	s.unit = info.unit
	if r.Flags != 0 {
		s.flags = r.modifiers()
	}
	meta := info.MetaSize
	if meta != 0 {
		if info.Protection != 0 && r.PI.Flags&spec.PRACT != 0 && meta == spec.PISize {
			meta, s.unit = 0, uint32(info.BlockSize) // the controller inserts and strips all there is
		}
		if info.Extended {
			meta = 0
		}
	}
	n := uint64(len(r.Buf))
	if shift := info.unitShift; shift != 0 && s.unit == info.unit {
		if n&(1<<shift-1) != 0 {
			return fmt.Errorf("%d bytes are no multiple of the block size %d: %w", n, s.unit, ErrInvalid)
		}
		n >>= shift
	} else {
		if n%uint64(s.unit) != 0 {
			return fmt.Errorf("%d bytes are no multiple of the block size %d: %w", n, s.unit, ErrInvalid)
		}
		n /= uint64(s.unit)
	}
	switch {
	case n == 0:
		return fmt.Errorf("no data: %w", ErrInvalid)
	case r.LBA >= info.Blocks || n > info.Blocks-r.LBA:
		return fmt.Errorf("%d blocks of %d: %w", n, info.Blocks, ErrOutOfRange)
	case address(r.Buf)&3 != 0 || address(r.Meta)&3 != 0:
		return errUnalignedBuffer
	case uint64(len(r.Meta)) != n*uint64(meta):
		return fmt.Errorf("%d bytes of metadata, want %d for %d blocks: %w", len(r.Meta), n*uint64(meta), n, ErrInvalid)
	}
	s.left = n
	if r.Op >= OpCompareAndWrite {
		return r.prepareWhole(n)
	}
	return nil
}

// prepareWhole checks operations that are not split.
func (r *Request) prepareWhole(n uint64) error {
	if n > r.state.perCmd {
		return fmt.Errorf("%d blocks, %d at most: %w", n, r.state.perCmd, ErrInvalid)
	}
	if r.Op == OpCompareAndWrite && (len(r.Data) != len(r.Buf) || address(r.Data)&3 != 0 || len(r.Meta) > 0) {
		return fmt.Errorf("data of %d bytes for a comparison with %d, want the same, dword aligned, without separate metadata: %w",
			len(r.Data), len(r.Buf), ErrInvalid)
	}
	return nil
}

func (r *Request) prepareOther(info *NamespaceInfo) error {
	s := &r.state
	switch {
	case r.Op == OpFlush:
		return nil
	case r.Op == OpCopy:
		s.flags = r.modifiers()
		return r.checkCopy(info)
	case r.Op == OpDeallocate && r.Ranges != nil:
		s.left = uint64(len(r.Ranges))
		return r.checkRanges(info, math.MaxUint32) // those that are too long for a command are split
	case r.Op == OpZoneSend || r.Op == OpZoneReceive:
		return r.checkZone(info)
	}
	s.flags = r.modifiers()
	if r.Op == OpWriteZeroes && r.Flags&FlagDeallocate != 0 {
		s.flags |= spec.Deallocate
	}
	if r.Op == OpWriteUncorrectable {
		s.flags = 0
	}
	if r.Blocks == 0 || r.LBA >= info.Blocks || r.Blocks > info.Blocks-r.LBA {
		return fmt.Errorf("%d blocks of %d: %w", r.Blocks, info.Blocks, ErrOutOfRange)
	}
	s.left = r.Blocks
	return nil
}

// checkRanges looks at a list of ranges, none longer than most.
func (r *Request) checkRanges(info *NamespaceInfo, most uint64) error {
	if len(r.Ranges) == 0 {
		return fmt.Errorf("no ranges: %w", ErrInvalid)
	}
	for _, g := range r.Ranges {
		n := uint64(g.Blocks)
		if n == 0 || n > most {
			return fmt.Errorf("a range of %d blocks, want 1 to %d: %w", n, most, ErrInvalid)
		}
		if g.LBA >= info.Blocks || n > info.Blocks-g.LBA {
			return fmt.Errorf("range of %d blocks from %d: %w", n, g.LBA, ErrOutOfRange)
		}
	}
	return nil
}

func (r *Request) checkCopy(info *NamespaceInfo) error {
	if err := r.checkRanges(info, info.MaxCopyRange); err != nil {
		return err
	}
	sum := uint64(0)
	for _, g := range r.Ranges {
		sum += uint64(g.Blocks)
	}
	if len(r.Ranges) > info.MaxCopyRanges || sum > info.MaxCopy {
		return fmt.Errorf("%d blocks in %d ranges, at most %d in %d: %w", sum, len(r.Ranges), info.MaxCopy, info.MaxCopyRanges, ErrInvalid)
	}
	if r.LBA >= info.Blocks || sum > info.Blocks-r.LBA {
		return fmt.Errorf("copy of %d blocks: %w", sum, ErrOutOfRange)
	}
	return nil
}

func (r *Request) checkZone(info *NamespaceInfo) error {
	if r.LBA >= info.Blocks {
		return ErrOutOfRange
	}
	if r.Op == OpZoneReceive && (len(r.Buf) < spec.ZoneHeaderSize || len(r.Buf)%4 != 0 || len(r.Buf) > info.MaxTransfer || address(r.Buf)&3 != 0) {
		return fmt.Errorf("report into %d bytes, want dwords, from %d to %d bytes: %w", len(r.Buf), spec.ZoneHeaderSize, info.MaxTransfer, ErrInvalid)
	}
	return nil
}
