package nvme_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// This file has what the controller sees of a call, command by command, in numbers of the specification's figures.

// bare leaves out where things are in memory and the command identifiers, which are the queue's business.
func bare(cmds []spec.Command) []spec.Command {
	for i := range cmds {
		cmds[i].CID, cmds[i].MPTR, cmds[i].PRP1, cmds[i].PRP2 = 0, 0, 0, 0
	}
	return cmds
}

// TestAdminFields: what callers of the admin methods ask for is in the command.
func TestAdminFields(t *testing.T) {
	b := make([]byte, 8)
	protected := nvme.FormatOptions{Format: 3, Extended: true, Protection: 2, ProtectFirst: true, Erase: spec.EraseCrypto}
	plain := nvme.FormatOptions{Format: 35, Erase: spec.EraseUser}
	for _, c := range []struct {
		name string
		call func(c *nvme.Controller) error
		want spec.Command
	}{
		{"format", func(c *nvme.Controller) error { return c.Format(5, protected) },
			spec.Command{Opcode: 0x80, NSID: 5, CDW10: 3 | 1<<4 | 2<<5 | 1<<8 | 2<<9}},
		{"format 35", func(c *nvme.Controller) error { return c.Format(5, plain) },
			spec.Command{Opcode: 0x80, NSID: 5, CDW10: 3 | 1<<9 | 2<<12}},
		{"sanitize", func(c *nvme.Controller) error { return c.Sanitize(spec.SanitizeOverwrite, 0xA55A1234) },
			spec.Command{Opcode: 0x84, CDW10: 3, CDW11: 0xA55A1234}},
		{"firmware commit", func(c *nvme.Controller) error { return c.CommitFirmware(5, 2) }, spec.Command{Opcode: 0x10, CDW10: 5 | 2<<3}},
		{"security send", func(c *nvme.Controller) error { return c.SecuritySend(0xEA, 0x1234, 7, b) },
			spec.Command{Opcode: 0x81, NSID: 7, CDW10: 0xEA123400, CDW11: 8}},
		{"security receive", func(c *nvme.Controller) error { return c.SecurityReceive(1, 0x8001, 0, b) },
			spec.Command{Opcode: 0x82, CDW10: 0x01800100, CDW11: 8}},
		{"get features", func(c *nvme.Controller) error { _, err := c.Feature(0x84, 7, spec.SelectSaved, nil); return err },
			spec.Command{Opcode: 0x0A, NSID: 7, CDW10: 0x84 | 2<<8}},
		{"set features", func(c *nvme.Controller) error { _, err := c.SetFeature(4, 7, 0x12345678, nil, true); return err },
			spec.Command{Opcode: 0x09, NSID: 7, CDW10: 4 | 1<<31, CDW11: 0x12345678}},
		{"log page", func(c *nvme.Controller) error { return c.LogPage(0xC0, 7, 5<<32|12, b, false) },
			spec.Command{Opcode: 0x02, NSID: 7, CDW10: 0xC0 | 1<<16, CDW12: 12, CDW13: 5}},
		{"delete namespace", func(c *nvme.Controller) error { return c.DeleteNamespace(9) }, spec.Command{Opcode: 0x0D, NSID: 9, CDW10: 1}},
		{"detach", func(c *nvme.Controller) error { return c.AttachNamespace(9, false) }, spec.Command{Opcode: 0x15, NSID: 9, CDW10: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &watch{}
			r := newRig(t, setup{cfg: softctrl.Config{Observe: w.observe}})
			*w = watch{}
			r.soft.Inject(softctrl.Fault{Admin: true, Opcode: int(c.want.Opcode), Do: softctrl.FailWith}) // with success
			require.NoError(t, c.call(r.c))
			require.Equal(t, []spec.Command{c.want}, bare(w.takeAdmin(c.want.Opcode))[:1])
		})
	}
}

// TestIOFields: what a request asks for is in the commands, and nothing else.
func TestIOFields(t *testing.T) {
	const far, low, high = 3<<32 | 5, 5, 3
	const limited, fua = 1 << 31, 1 << 30
	both := nvme.FlagFUA | nvme.FlagLimited
	w := &watch{}
	huge := lying(spec.CNSNamespace, 0, func(b []byte) { binary.LittleEndian.PutUint64(b, 1<<40) })
	r := newRig(t, setup{cfg: softctrl.Config{AtomicBlocks: 8, Observe: w.observe, MangleIdentify: huge}})
	r.soft.Inject(softctrl.Fault{Opcode: softctrl.AnyOpcode, Do: softctrl.FailWith, Times: -1}) // with success
	b := r.buf(4*blockSize, nil)
	for _, c := range []struct {
		req  nvme.Request
		want []spec.Command
	}{
		{nvme.Request{Op: nvme.OpRead, Buf: b}, []spec.Command{{Opcode: 0x02, CDW10: low, CDW11: high, CDW12: 3}}},
		{nvme.Request{Op: nvme.OpRead, Buf: b, Flags: both}, []spec.Command{{Opcode: 0x02, CDW10: low, CDW11: high, CDW12: limited | fua | 3}}},
		{nvme.Request{Op: nvme.OpWrite, Buf: b, Flags: nvme.FlagFUA}, []spec.Command{{Opcode: 0x01, CDW10: low, CDW11: high, CDW12: fua | 3}}},
		{nvme.Request{Op: nvme.OpCompare, Buf: b, Flags: nvme.FlagLimited},
			[]spec.Command{{Opcode: 0x05, CDW10: low, CDW11: high, CDW12: limited | 3}}},
		{nvme.Request{Op: nvme.OpCompareAndWrite, Buf: b, Data: b, Flags: both}, []spec.Command{
			{Opcode: 0x05, Flags: 1, CDW10: low, CDW11: high, CDW12: limited | 3},
			{Opcode: 0x01, Flags: 2, CDW10: low, CDW11: high, CDW12: limited | fua | 3}}},
		{nvme.Request{Op: nvme.OpWriteZeroes, Blocks: 9}, []spec.Command{{Opcode: 0x08, CDW10: low, CDW11: high, CDW12: 8}}},
		{nvme.Request{Op: nvme.OpWriteZeroes, Blocks: 9, Flags: nvme.FlagDeallocate | nvme.FlagFUA},
			[]spec.Command{{Opcode: 0x08, CDW10: low, CDW11: high, CDW12: fua | 1<<25 | 8}}},
		{nvme.Request{Op: nvme.OpVerify, Blocks: 9, Flags: both | nvme.FlagDeallocate},
			[]spec.Command{{Opcode: 0x0C, CDW10: low, CDW11: high, CDW12: limited | fua | 8}}},
		{nvme.Request{Op: nvme.OpDeallocate, Ranges: []nvme.Range{{LBA: 1, Blocks: 1}, {LBA: far, Blocks: 1}}}, []spec.Command{{Opcode: 0x09, CDW10: 1, CDW11: 4}}},
		{nvme.Request{Op: nvme.OpCopy, Ranges: []nvme.Range{{LBA: 1, Blocks: 1}, {LBA: far, Blocks: 1}}, Flags: both},
			[]spec.Command{{Opcode: 0x19, CDW10: low, CDW11: high, CDW12: limited | fua | 1}}},
		{nvme.Request{Op: nvme.OpFlush, Flags: both}, []spec.Command{{Opcode: 0x00}}},
		{nvme.Request{Op: nvme.OpRaw, Raw: spec.Command{Opcode: 0xC0, CDW2: 1, CDW3: 2, CDW13: 3, CDW14: 4, CDW15: 5}},
			[]spec.Command{{Opcode: 0xC0, CDW2: 1, CDW3: 2, CDW13: 3, CDW14: 4, CDW15: 5}}},
	} {
		c.req.NS, c.req.LBA = r.ns, far
		c.req.Raw.NSID = 1
		for i := range c.want {
			c.want[i].NSID = 1
		}
		require.NoError(t, r.do(c.req), c.req.Op)
		require.Equal(t, c.want, bare(w.takeIO()), c.req.Op)
	}
}

// TestProtectionFields: every command of a request that is split says what the controller checks; the reference tag goes up with
// the blocks, but with protection type 3, where it is the same for all.
func TestProtectionFields(t *testing.T) {
	for kind, step := range map[uint8]uint32{1: 8, 2: 8, 3: 0} {
		w := &watch{}
		ns := softctrl.NamespaceConfig{Storage: ram(t, 1<<20, false), MetaSize: 8, Protection: kind}
		limit := lying(spec.CNSControllerCSI, spec.CSINVM, func(b []byte) { b[0], b[1] = 1, 1 }) // VSL and WZSL of 8 KiB
		r := newRig(t, setup{cfg: softctrl.Config{MDTS: 1, Observe: w.observe, MangleIdentify: limit, Namespaces: []softctrl.NamespaceConfig{ns}}})
		r.soft.Inject(softctrl.Fault{Opcode: softctrl.AnyOpcode, Do: softctrl.FailWith, Times: -1}) // with success
		p := nvme.Protect{Flags: spec.PRCHKGuard | spec.PRCHKRef, RefTag: 100, App: 0x1234, AppMask: 0xFF0F}
		for _, req := range []nvme.Request{
			{Op: nvme.OpWrite, Buf: r.buf(40*blockSize, nil), Meta: r.buf(40*8, nil)}, {Op: nvme.OpVerify, Blocks: 40}, {Op: nvme.OpWriteZeroes, Blocks: 40},
		} {
			req.NS, req.PI = r.ns, p
			require.NoError(t, r.do(req))
			cmds := w.takeIO()
			require.Len(t, cmds, 3, "16 + 16 + 8 blocks")
			for i, c := range cmds {
				require.EqualValues(t, 0b101, c.CDW12>>26, "%s, type %d", req.Op, kind)
				require.Equal(t, 100+2*step*uint32(i), c.CDW14, "%s, type %d", req.Op, kind)
				require.EqualValues(t, 0xFF0F1234, c.CDW15)
			}
		}
	}
}

// TestFirmwarePieces: an image is handed over in pieces of the granularity that the controller asks for (FWUG).
func TestFirmwarePieces(t *testing.T) {
	const page, image = 4096, 9 * 4096 / 2
	for fwug, pieces := range map[uint8][]int{0: {page, page, page, page, page / 2}, 0xFF: {page, page, page, page, page / 2}, 2: {2 * page, 2 * page, page / 2}, 200: {image}} {
		w := &watch{}
		r := newRig(t, setup{cfg: softctrl.Config{Observe: w.observe, MangleIdentify: lying(spec.CNSController, 0, func(b []byte) { b[319] = fwug })}})
		require.NoError(t, r.c.DownloadFirmware(make([]byte, image)))
		var want []spec.Command
		at := 0
		for _, n := range pieces {
			want = append(want, spec.Command{Opcode: 0x11, CDW10: uint32(n/4 - 1), CDW11: uint32(at / 4)})
			at += n
		}
		require.Equal(t, want, bare(w.takeAdmin(0x11)), fwug)
	}
}

// TestLogRetain: an event is acknowledged with the last piece of its log page, or not at all if that is wanted.
func TestLogRetain(t *testing.T) {
	w := &watch{}
	r := newRig(t, setup{cfg: softctrl.Config{Observe: w.observe}})
	for _, keep := range []bool{false, true} {
		*w = watch{}
		r.soft.Inject(softctrl.Fault{Admin: true, Opcode: spec.AdminGetLogPage, Do: softctrl.FailWith, Times: 3}) // with success
		require.NoError(t, r.c.LogPage(0xC0, 0, 0, make([]byte, 10000), keep))
		var kept []bool
		for _, c := range w.takeAdmin(spec.AdminGetLogPage) {
			kept = append(kept, c.CDW10>>15&1 != 0)
		}
		require.Equal(t, []bool{true, true, keep}, kept)
	}
}
