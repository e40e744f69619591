package nvme_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// sizes are those of the commands that one request became.
type sizes struct {
	commands int
	ranges   int // of one command, at most
	blocks   int // of one range, at most
	sum      int // blocks of one command, at most
}

// extents are the blocks that a command names, in ranges.
func (r *rig) extents(c spec.Command) []spec.DSMRange {
	if c.Opcode != spec.CmdDSM {
		return []spec.DSMRange{{LBA: c.LBA(), Blocks: c.CDW12&0xFFFF + 1}}
	}
	list := make([]spec.DSMRange, c.CDW10&0xFF+1)
	b := r.tr.Translate(c.PRP1, len(list)*spec.DSMRangeSize, false)
	for i := range list {
		list[i].Get(b[i*spec.DSMRangeSize:])
	}
	return list
}

// measure finds the sizes of commands, and how often they name each block.
func (r *rig) measure(cmds []spec.Command) (s sizes, named [numBlocks]uint8) {
	for _, c := range cmds {
		sum := 0
		list := r.extents(c)
		for _, e := range list {
			s.blocks = max(s.blocks, int(e.Blocks))
			sum += int(e.Blocks)
			for i := range uint64(e.Blocks) {
				named[e.LBA+i]++
			}
		}
		s.commands++
		s.ranges, s.sum = max(s.ranges, len(list)), max(s.sum, sum)
	}
	return s, named
}

// TestLimits: of operations without data no command is larger than the controller says (NVM 1.0, figure 100), nor smaller than
// it needs to be, and together they name every block once.
func TestLimits(t *testing.T) {
	le := binary.LittleEndian
	whole := func(op nvme.Op) nvme.Request { return nvme.Request{Op: op, LBA: 7, Blocks: 1000} }
	ranges := func(n int, blocks uint32) nvme.Request {
		r := nvme.Request{Op: nvme.OpDeallocate}
		for i := range uint64(n) {
			r.Ranges = append(r.Ranges, nvme.Range{LBA: 3 + i*uint64(blocks+1), Blocks: blocks})
		}
		return r
	}
	for _, c := range []struct {
		name string
		lie  func(page []byte)
		req  nvme.Request
		want sizes
	}{
		{"no WZSL", func(b []byte) { b[1] = 0 }, whole(nvme.OpWriteZeroes), sizes{1, 1, 1000, 1000}},
		{"WZSL", func(b []byte) { b[1] = 3 }, whole(nvme.OpWriteZeroes), sizes{16, 1, 64, 64}},
		{"VSL", func(b []byte) { b[0] = 2 }, whole(nvme.OpVerify), sizes{32, 1, 32, 32}},
		{"WUSL", func(b []byte) { b[2] = 4 }, whole(nvme.OpWriteUncorrectable), sizes{8, 1, 128, 128}},
		{"no DMRSL", nil, whole(nvme.OpDeallocate), sizes{1, 1, 1000, 1000}},
		{"DMRSL", func(b []byte) { le.PutUint32(b[4:], 300) }, whole(nvme.OpDeallocate), sizes{4, 1, 300, 300}},
		{"DMRSL of a list", func(b []byte) { b[3] = 2; le.PutUint32(b[4:], 300) }, ranges(2, 700), sizes{3, 2, 300, 600}},
		{"DMRL", func(b []byte) { b[3] = 16 }, ranges(100, 2), sizes{7, 16, 2, 32}},
		{"DMSL", func(b []byte) { le.PutUint64(b[8:], 250) }, whole(nvme.OpDeallocate), sizes{4, 1, 250, 250}},
		{"DMSL of a list", func(b []byte) { le.PutUint32(b[4:], 100); le.PutUint64(b[8:], 250) }, ranges(10, 100), sizes{5, 2, 100, 200}},
		{"DMSL below DMRSL", func(b []byte) { le.PutUint32(b[4:], 500); le.PutUint64(b[8:], 250) }, ranges(2, 400), sizes{4, 1, 250, 250}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &watch{}
			lie := func(cns, csi uint8, _ uint32, page []byte) {
				switch {
				case cns == spec.CNSController:
					le.PutUint16(page[520:], le.Uint16(page[520:])|spec.ONCSUncorrect)
				case cns == spec.CNSControllerCSI && csi == spec.CSINVM && c.lie != nil:
					c.lie(page)
				}
			}
			r := newRig(t, setup{cfg: softctrl.Config{Observe: w.observe, MangleIdentify: lie}})
			r.soft.Inject(softctrl.Fault{Opcode: spec.CmdWriteUncorrect, Do: softctrl.FailWith, Times: -1}) // with success
			c.req.NS = r.ns
			require.NoError(t, r.do(c.req))
			got, named := r.measure(w.takeIO())
			require.Equal(t, c.want, got)
			var want [numBlocks]uint8
			for _, g := range append(c.req.Ranges, nvme.Range{LBA: c.req.LBA, Blocks: uint32(c.req.Blocks)}) {
				for i := range uint64(g.Blocks) {
					want[g.LBA+i]++
				}
			}
			require.True(t, want == named, "blocks left out, or named twice")
		})
	}
}

// TestLimitsUnsaid: a controller that is too old to say how large a command without data may be gets none larger than MDTS.
func TestLimitsUnsaid(t *testing.T) {
	w := &watch{}
	r := newRig(t, setup{cfg: softctrl.Config{Version: spec.Version(1, 4, 0), Observe: w.observe}})
	for _, op := range []nvme.Op{nvme.OpWriteZeroes, nvme.OpVerify} {
		require.NoError(t, r.do(nvme.Request{Op: op, NS: r.ns, Blocks: 1000}))
		got, _ := r.measure(w.takeIO())
		require.Equal(t, sizes{4, 1, 256, 256}, got)
	}
}

// TestAppendLimit: an append is as large as ZASL and MDTS say, metadata between the blocks included, or refused.
func TestAppendLimit(t *testing.T) {
	for _, c := range []struct {
		zasl uint8
		meta int
		want uint64
	}{{0, 0, 256}, {3, 0, 64}, {3, 8, 63}, {9, 0, 256}, {9, 8, 252}} {
		w := &watch{}
		lie := lying(spec.CNSControllerCSI, spec.CSIZoned, func(b []byte) { b[0] = c.zasl })
		ns := softctrl.NamespaceConfig{Storage: ram(t, 1<<20, false), ZoneBlocks: 512, MetaSize: c.meta, Extended: c.meta != 0}
		r := newRig(t, setup{cfg: softctrl.Config{Observe: w.observe, MangleIdentify: lie, Namespaces: []softctrl.NamespaceConfig{ns}}})
		require.Equal(t, c.want, r.ns.Info().MaxAppend, c)
		unit := blockSize + c.meta
		b := r.buf((int(c.want)+1)*unit, nil)
		require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpZoneAppend, NS: r.ns, Buf: b}), nvme.ErrInvalid, c)
		require.Empty(t, w.takeIO(), c)
		require.NoError(t, r.do(nvme.Request{Op: nvme.OpZoneAppend, NS: r.ns, Buf: b[unit:]}), c)
		got, _ := r.measure(w.takeIO())
		require.Equal(t, sizes{1, 1, int(c.want), int(c.want)}, got, c)
	}
}

// TestAdminLimits: no more aborts (ACL) and asynchronous event requests (AERL) are outstanding than the controller takes, nor
// more than the driver wants of those that take many.
func TestAdminLimits(t *testing.T) {
	for limit, want := range map[uint8]int{0: 1, 1: 2, 2: 3, 200: 4} {
		w := &watch{}
		lie := lying(spec.CNSController, 0, func(b []byte) { b[258], b[259] = limit, limit })
		r := faultRig(t, setup{cfg: softctrl.Config{Events: 255, Observe: w.observe, MangleIdentify: lie}})
		require.Len(t, w.takeAdmin(spec.AdminAsyncEvent), want)
		r.soft.Inject(softctrl.Fault{Admin: true, Opcode: spec.AdminAbort, Do: softctrl.Hang, Times: -1})
		r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Hang, Times: 20})
		reqs := r.start(20, nvme.OpRead)
		r.settle("no reset", func() bool { return r.c.Resets() == 1 })
		require.Len(t, w.takeAdmin(spec.AdminAbort), want, "none of them is answered before the reset")
		r.finish(reqs)
	}
}
