package nvme_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// zonedSpace is a namespace of 8 zones.
func zonedSpace(t *testing.T) softctrl.NamespaceConfig {
	return softctrl.NamespaceConfig{Storage: ram(t, 1<<20, false), ZoneBlocks: 256, MaxOpen: 2}
}

// TestNamespaceFacts: what callers go by is what the controller says, where it means something.
func TestNamespaceFacts(t *testing.T) {
	le := binary.LittleEndian
	const nsfeat, atomics, optimal = 24, 1 << 1, 1 << 4
	// atomic says that the controller writes 2 blocks atomically, also across a power failure, and compares and writes 3, and
	// that the namespace does 8, 6 and 5.
	atomic := func(feat byte, more func(ns []byte)) func(cns, csi uint8, nsid uint32, b []byte) {
		return func(cns, _ uint8, _ uint32, b []byte) {
			switch cns {
			case spec.CNSController:
				le.PutUint16(b[526:], 1)
				le.PutUint16(b[528:], 1)
				le.PutUint16(b[532:], 2)
			case spec.CNSNamespace:
				b[nsfeat] |= feat
				le.PutUint16(b[34:], 7)
				le.PutUint16(b[36:], 5)
				le.PutUint16(b[38:], 4)
				if more != nil {
					more(b)
				}
			}
		}
	}
	atoms := func(n *nvme.NamespaceInfo) []uint64 { return []uint64{n.AtomicWrite, n.AtomicPower, n.AtomicCompare} }
	granules := func(n *nvme.NamespaceInfo) []uint64 { return []uint64{n.UnmapGranule, n.WriteGranule} }
	ops := func(ops ...nvme.Op) func(*nvme.NamespaceInfo) []uint64 {
		return func(n *nvme.NamespaceInfo) (has []uint64) {
			for _, o := range ops {
				has = append(has, uint64(n.Ops>>o&1))
			}
			return has
		}
	}
	zones := func(n *nvme.NamespaceInfo) []uint64 {
		return []uint64{uint64(n.MaxOpenZones), uint64(n.MaxActiveZones)}
	}
	granular := func(b []byte) { le.PutUint16(b[64:], 7); le.PutUint16(b[68:], 15) } // NPWG and NPDG
	for _, c := range []struct {
		name  string
		zoned bool
		lie   func(cns, csi uint8, nsid uint32, page []byte)
		get   func(*nvme.NamespaceInfo) []uint64
		want  []uint64
	}{
		{"atomicity of the controller", false, atomic(0, nil), atoms, []uint64{2, 2, 3}},
		{"atomicity of the namespace", false, atomic(atomics, nil), atoms, []uint64{8, 6, 5}},
		{"NABSN", false, atomic(atomics, func(b []byte) { le.PutUint16(b[40:], 8) }), atoms, []uint64{1, 6, 5}},
		{"NABSPF", false, atomic(atomics, func(b []byte) { le.PutUint16(b[44:], 8) }), atoms, []uint64{8, 1, 5}},
		{"no granules", false, lying(spec.CNSNamespace, 0, granular), granules, []uint64{1, 1}},
		{"granules", false, lying(spec.CNSNamespace, 0, func(b []byte) { b[nsfeat] |= optimal; granular(b) }), granules, []uint64{16, 8}},
		{"fused commands", false, nil, ops(nvme.OpCompareAndWrite), []uint64{1}},
		{"no fused commands", false, lying(spec.CNSController, 0, func(b []byte) { b[522] = 0 }), ops(nvme.OpCompareAndWrite), []uint64{0}},
		{"copy", false, nil, ops(nvme.OpCopy), []uint64{1}},
		{"copy of another format", false, lying(spec.CNSController, 0, func(b []byte) { b[534] = 2 }), ops(nvme.OpCopy), []uint64{0}},
		{"no commands but those that must be", false, lying(spec.CNSController, 0, func(b []byte) { b[520], b[521] = 0, 0 }),
			ops(nvme.OpRead, nvme.OpWrite, nvme.OpFlush, nvme.OpCompare, nvme.OpWriteZeroes, nvme.OpDeallocate, nvme.OpVerify, nvme.OpCopy),
			[]uint64{1, 1, 1, 0, 0, 0, 0, 0}},
		{"open zones", true, nil, zones, []uint64{2, 0}},
		{"active zones", true, lying(spec.CNSNamespaceCSI, spec.CSIZoned, func(b []byte) { le.PutUint32(b[4:], 4); le.PutUint32(b[8:], 3) }),
			zones, []uint64{4, 5}},
	} {
		cfg := softctrl.Config{MangleIdentify: c.lie}
		if c.zoned {
			cfg.Namespaces = []softctrl.NamespaceConfig{zonedSpace(t)}
		}
		r := newRig(t, setup{cfg: cfg})
		require.Equal(t, c.want, c.get(r.ns.Info()), c.name)
	}
}

// TestRefusedNamespaces: a namespace that the driver would misread, with metadata, protection or zones, is not usable, and the
// error says why. TestIdentifyLies has those without.
func TestRefusedNamespaces(t *testing.T) {
	le := binary.LittleEndian
	meta := func(protection uint8) softctrl.NamespaceConfig {
		return softctrl.NamespaceConfig{Storage: ram(t, 1<<20, false), MetaSize: 8, Protection: protection, Extended: true}
	}
	const format1 = 1 // 512 bytes and 8 of metadata
	wide := func(b []byte) { le.PutUint32(b[12+4*format1:], 1<<7) }
	for _, c := range []struct {
		name     string
		ns       softctrl.NamespaceConfig
		cns, csi uint8
		lie      func(page []byte)
		want     error
	}{
		{"guard of 32 bits", meta(1), spec.CNSNamespaceCSI, spec.CSINVM, wide, nvme.ErrUnsupported},
		{"guard of 32 bits, not used", meta(0), spec.CNSNamespaceCSI, spec.CSINVM, wide, nil},
		{"metadata of 6 bytes", meta(0), spec.CNSNamespace, 0, func(b []byte) { b[128+4*format1] = 6 }, nvme.ErrUnsupported},
		{"metadata of 6 bytes apart", meta(0), spec.CNSNamespace, 0, func(b []byte) { b[128+4*format1], b[26] = 6, format1 }, nil},
		{"zones of no blocks", zonedSpace(t), spec.CNSNamespaceCSI, spec.CSIZoned, func(b []byte) { le.PutUint64(b[2816:], 0) }, nvme.ErrProtocol},
		{"a zone larger than all", zonedSpace(t), spec.CNSNamespaceCSI, spec.CSIZoned, func(b []byte) { le.PutUint64(b[2816:], 2049) }, nvme.ErrProtocol},
		{"one zone", zonedSpace(t), spec.CNSNamespaceCSI, spec.CSIZoned, func(b []byte) { le.PutUint64(b[2816:], 2048) }, nil},
	} {
		r := newRig(t, setup{cfg: softctrl.Config{MangleIdentify: lying(c.cns, c.csi, c.lie), Namespaces: []softctrl.NamespaceConfig{c.ns}}})
		_, err := r.c.Namespace(1)
		if c.want == nil {
			require.NoError(t, err, c.name)
			continue
		}
		require.ErrorIs(t, err, nvme.ErrNoNamespace, c.name)
		require.ErrorIs(t, err, c.want, c.name)
	}
}
