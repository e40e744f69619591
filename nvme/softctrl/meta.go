package softctrl

import (
	"github.com/blobkv/blobkv/nvme/spec"
)

// metaOf is the metadata of blocks.
func (s *space) metaOf(lba, n uint64) []byte {
	ms := uint64(s.cfg.MetaSize)
	return s.meta[lba*ms : (lba+n)*ms]
}

// clearMeta makes metadata that of deallocated blocks: all ones where there is protection information, so that it is not
// checked (NVM 1.0, section 3.2.3.2.1), zeros otherwise.
func (s *space) clearMeta(lba, n uint64) {
	m := s.metaOf(lba, n)
	clear(m)
	if s.cfg.Protection != 0 {
		for i := range m {
			m[i] = 0xFF
		}
	}
}

// interleave builds blocks of an extended format.
func (s *space) interleave(b *[]byte, data []byte, lba, n uint64) []byte {
	bs, ms := s.cfg.BlockSize, s.cfg.MetaSize
	if size := int(n) * s.unit; cap(*b) < size {
		*b = make([]byte, size)
	}
	out := (*b)[:int(n)*s.unit]
	meta := s.metaOf(lba, n)
	for i := range int(n) {
		copy(out[i*s.unit:], data[i*bs:(i+1)*bs])
		copy(out[i*s.unit+bs:], meta[i*ms:(i+1)*ms])
	}
	return out
}

// readMeta reads blocks that have metadata.
func (c *Controller) readMeta(sq *subQueue, s *space, cmd *spec.Command, n uint64, parts [][]byte) spec.Status {
	data, st := s.load(&sq.scratch.expect, cmd.LBA(), n)
	if !st.OK() {
		return st
	}
	meta := s.metaOf(cmd.LBA(), n)
	if s.cfg.Protection != 0 {
		if st := s.checkAll(cmd, data, meta); !st.OK() {
			return st
		}
	}
	out := data
	if s.cfg.Extended && !s.stripped(cmd) {
		out = s.interleave(&sq.scratch.buf, data, cmd.LBA(), n)
	}
	scatter(parts, out)
	if s.cfg.Extended || s.stripped(cmd) {
		return spec.StatusSuccess
	}
	b := c.mem.Translate(cmd.MPTR, len(meta), true)
	if b == nil {
		return spec.StatusDataTransferError
	}
	copy(b, meta)
	return spec.StatusSuccess
}

// writeMeta writes blocks that have metadata.
func (c *Controller) writeMeta(sq *subQueue, s *space, cmd *spec.Command, n uint64, parts [][]byte) spec.Status {
	data, meta, st := c.separate(s, cmd, n, sq.scratch.gather(parts))
	if !st.OK() {
		return st
	}
	if s.cfg.Protection != 0 {
		if cmd.CDW12&spec.PRACT != 0 {
			s.insertAll(cmd, data, meta)
		} else if st := s.checkAll(cmd, data, meta); !st.OK() {
			return st
		}
	}
	copy(s.metaOf(cmd.LBA(), n), meta)
	_, err := s.cfg.Storage.WriteAt(data, int64(cmd.LBA()<<s.shift))
	return written(err)
}

// separate takes data and metadata apart, as the format and the command have them.
func (c *Controller) separate(s *space, cmd *spec.Command, n uint64, in []byte) (data, meta []byte, st spec.Status) {
	bs, ms := s.cfg.BlockSize, s.cfg.MetaSize
	meta = make([]byte, int(n)*ms)
	switch {
	case s.stripped(cmd):
		return in, meta, spec.StatusSuccess
	case !s.cfg.Extended:
		b := c.mem.Translate(cmd.MPTR, len(meta), false)
		if b == nil {
			return nil, nil, spec.StatusDataTransferError
		}
		copy(meta, b)
		return in, meta, spec.StatusSuccess
	}
	data = make([]byte, int(n)*bs)
	for i := range int(n) {
		copy(data[i*bs:(i+1)*bs], in[i*s.unit:])
		copy(meta[i*ms:(i+1)*ms], in[i*s.unit+bs:])
	}
	return data, meta, spec.StatusSuccess
}

// piOffset is where the protection information is within the metadata.
func (s *space) piOffset() int {
	if s.cfg.First {
		return 0
	}
	return s.cfg.MetaSize - spec.PISize
}

// guard is the CRC of a block's data and the metadata before the information.
func (s *space) guard(data, meta []byte) uint16 {
	return spec.CRC16(spec.CRC16(0, data), meta[:s.piOffset()])
}

// expected is the reference tag of the command's i-th block.
func (s *space) expected(cmd *spec.Command, i int) uint32 {
	if s.cfg.Protection == 3 {
		return cmd.CDW14
	}
	return cmd.CDW14 + uint32(i)
}

// insertAll fills in protection information.
func (s *space) insertAll(cmd *spec.Command, data, meta []byte) {
	bs, ms := s.cfg.BlockSize, s.cfg.MetaSize
	for i := range len(data) / bs {
		d, m := data[i*bs:(i+1)*bs], meta[i*ms:(i+1)*ms]
		spec.PI{Guard: s.guard(d, m), App: uint16(cmd.CDW15), RefTag: s.expected(cmd, i)}.Put(m[s.piOffset():])
	}
}

// checkAll checks protection information as the command asks (NVM 1.0, section 5.2.3).
func (s *space) checkAll(cmd *spec.Command, data, meta []byte) spec.Status {
	bs, ms := s.cfg.BlockSize, s.cfg.MetaSize
	for i := range len(data) / bs {
		d, m := data[i*bs:(i+1)*bs], meta[i*ms:(i+1)*ms]
		var pi spec.PI
		if pi.Get(m[s.piOffset():]); pi.Escaped(s.cfg.Protection) {
			continue
		}
		mask := uint16(cmd.CDW15 >> 16)
		switch {
		case cmd.CDW12&spec.PRCHKGuard != 0 && pi.Guard != s.guard(d, m):
			return spec.StatusGuardCheck
		case cmd.CDW12&spec.PRCHKApp != 0 && pi.App&mask != uint16(cmd.CDW15)&mask:
			return spec.StatusAppTagCheck
		case cmd.CDW12&spec.PRCHKRef != 0 && s.cfg.Protection != 3 && pi.RefTag != s.expected(cmd, i):
			return spec.StatusRefTagCheck
		}
	}
	return spec.StatusSuccess
}
