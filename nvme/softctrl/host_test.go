package softctrl_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// host is the least that drives a controller: it writes commands and registers as it is told, right or wrong.
type host struct {
	t       testing.TB
	tr      *softctrl.Transport
	mem     nvme.DMA // 1 MiB; see the offsets
	entries uint32
	tail    [3]uint32
	head    [3]uint32
	phase   [3]bool
	nextCID uint16
}

// Offsets in host.mem.
const (
	atASQ    = 0
	atACQ    = 4 << 10
	atSQ     = 8 << 10
	atCQ     = 12 << 10
	atList   = 16 << 10
	atShadow = 48 << 10
	atData   = 64 << 10
)

func newHost(t testing.TB, cfg softctrl.Config, entries uint32) *host {
	tr, err := softctrl.NewTransport(cfg, softctrl.TransportOptions{Mapped: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tr.Close()) })
	h := &host{t: t, tr: tr, entries: entries}
	h.mem, err = tr.Alloc(1 << 20)
	require.NoError(t, err)
	h.phase = [3]bool{true, true, true}
	require.NoError(t, tr.Store32(spec.RegAQA, spec.AQA(uint16(entries), uint16(entries))))
	require.NoError(t, tr.Store64(spec.RegASQ, h.mem.IOVA+atASQ))
	require.NoError(t, tr.Store32(spec.RegACQ, uint32(h.mem.IOVA+atACQ)))
	require.NoError(t, tr.Store32(spec.RegACQ+4, uint32((h.mem.IOVA+atACQ)>>32)))
	require.NoError(t, tr.Store32(spec.RegCC, uint32(spec.MakeCC(spec.CCCSSAll, 0))))
	v, err := tr.Load32(spec.RegCSTS)
	require.NoError(t, err)
	require.True(t, spec.CSTS(v).RDY())
	size := (entries - 1) << 16
	require.True(t, h.admin(spec.Command{Opcode: spec.AdminCreateCQ, PRP1: h.mem.IOVA + atCQ, CDW10: 1 | size, CDW11: 3}).OK())
	require.True(t, h.admin(spec.Command{Opcode: spec.AdminCreateSQ, PRP1: h.mem.IOVA + atSQ, CDW10: 1 | size, CDW11: 1 | 1<<16}).OK())
	return h
}

// put writes a command without ringing.
func (h *host) put(q int, c spec.Command) uint16 {
	h.nextCID++
	c.CID = h.nextCID
	c.Put(h.mem.Bytes[atASQ+q*(atSQ-atASQ)+int(h.tail[q])*spec.CommandSize:])
	h.tail[q] = (h.tail[q] + 1) % h.entries
	return c.CID
}

func (h *host) ring(q int) {
	require.NoError(h.t, h.tr.Store32(spec.SubmissionDoorbell(uint16(q), 0), h.tail[q]))
}

// take returns the next completion.
func (h *host) take(q int) (spec.Completion, bool) {
	var e spec.Completion
	e.Get(h.mem.Bytes[atACQ+q*(atCQ-atACQ)+int(h.head[q])*spec.CompletionSize:])
	if e.Phase != h.phase[q] {
		return e, false
	}
	if h.head[q] = (h.head[q] + 1) % h.entries; h.head[q] == 0 {
		h.phase[q] = !h.phase[q]
	}
	return e, true
}

func (h *host) hear(q int) {
	require.NoError(h.t, h.tr.Store32(spec.CompletionDoorbell(uint16(q), 0), h.head[q]))
}

func (h *host) run(q int, c spec.Command) spec.Completion {
	cid := h.put(q, c)
	h.ring(q)
	e, ok := h.take(q)
	require.True(h.t, ok, "no completion")
	require.Equal(h.t, cid, e.CID)
	require.EqualValues(h.t, q, e.SQID)
	h.hear(q)
	return e
}

func (h *host) admin(c spec.Command) spec.Status { return h.run(0, c).Status }
func (h *host) io(c spec.Command) spec.Status    { return h.run(1, c).Status }

func storage(t testing.TB, n int64) softctrl.Storage {
	r, err := softctrl.NewRAM(n, false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Free()) })
	return r
}

func oneSpace(t testing.TB) []softctrl.NamespaceConfig {
	return []softctrl.NamespaceConfig{{Storage: storage(t, 1<<20)}}
}

// TestLists: PRP lists that chain from page to page, and SGLs in segments, reach the same bytes.
func TestLists(t *testing.T) {
	h := newHost(t, softctrl.Config{SGL: true, MDTS: softctrl.NoLimit, Namespaces: oneSpace(t)}, 16)
	data := h.mem.Bytes[atData : atData+64<<10]
	for i := range data {
		data[i] = byte(i * 7 / 3)
	}
	want := bytes.Clone(data)
	write := spec.Command{Opcode: spec.CmdWrite, NSID: 1, CDW12: 127, PRP1: h.mem.IOVA + atData}
	// The list begins three entries before the end of a page: two pages of data, then the rest of the list elsewhere.
	list := atList + 4096 - 3*8
	entry := func(at int, v uint64) { binary.LittleEndian.PutUint64(h.mem.Bytes[at:], h.mem.IOVA+v) }
	entry(list, atData+4096)
	entry(list+8, atData+2*4096)
	entry(list+16, atList+8192)
	for i := 3; i < 16; i++ {
		entry(atList+8192+8*(i-3), uint64(atData+i*4096))
	}
	write.PRP2 = h.mem.IOVA + uint64(list)
	require.Equal(t, spec.StatusSuccess, h.io(write))

	clear(data)
	read := spec.Command{Opcode: spec.CmdRead, NSID: 1, CDW12: 127}
	desc := func(at int, d spec.SGL) { d.Address += h.mem.IOVA; d.Put(h.mem.Bytes[at:]) }
	desc(atList, spec.SGL{Address: atData, Length: 10000, Type: spec.SGLTypeData})
	desc(atList+16, spec.SGL{Address: atList + 4096, Length: 32, Type: spec.SGLTypeLastSegment})
	desc(atList+4096, spec.SGL{Address: atData + 10000, Length: 4, Type: spec.SGLTypeData})
	desc(atList+4096+16, spec.SGL{Address: atData + 10004, Length: 64<<10 - 10004, Type: spec.SGLTypeData})
	read.SetSGL(spec.SGL{Address: h.mem.IOVA + atList, Length: 32, Type: spec.SGLTypeSegment})
	require.Equal(t, spec.StatusSuccess, h.io(read))
	require.Equal(t, want, data)
}

// calls is storage that notes the lengths of reads and writes.
type calls struct {
	softctrl.Storage
	lengths []int
}

func (s *calls) ReadAt(p []byte, at int64) (int, error) {
	s.lengths = append(s.lengths, len(p))
	return s.Storage.ReadAt(p, at)
}

func (s *calls) WriteAt(p []byte, at int64) (int, error) {
	s.lengths = append(s.lengths, len(p))
	return s.Storage.WriteAt(p, at)
}

// TestStorageCalls: what is atomic reaches the storage in one call, however the host's memory lies, and no call has part of a
// block; pages that follow each other are one piece.
func TestStorageCalls(t *testing.T) {
	s := &calls{Storage: storage(t, 1<<20)}
	h := newHost(t, softctrl.Config{AtomicBlocks: 16, Namespaces: []softctrl.NamespaceConfig{{Storage: s}}}, 16)
	for _, c := range []struct {
		name   string
		offset uint64 // of the data in its first page
		step   int    // pages from one page of the data to the next
		bytes  int
		want   []int
	}{
		{"contiguous", 0, 1, 64 << 10, []int{64 << 10}},
		{"contiguous from within a page", 100, 1, 64 << 10, []int{64 << 10}},
		{"scattered and atomic", 0, 2, 8 << 10, []int{8 << 10}},
		{"scattered and not atomic", 0, 2, 16 << 10, []int{4 << 10, 4 << 10, 4 << 10, 4 << 10}},
		{"scattered from within a page", 512, 2, 16 << 10, []int{3584, 4 << 10, 4 << 10, 4 << 10, 512}},
		{"blocks across pages", 100, 2, 16 << 10, []int{16 << 10}},
		{"one block across pages", 4000, 2, 512, []int{512}},
	} {
		page := func(i int) uint64 { return atData + uint64(i*c.step*4096) }
		cmd := spec.Command{NSID: 1, PRP1: h.mem.IOVA + page(0) + c.offset, PRP2: h.mem.IOVA + atList, CDW12: uint32(c.bytes/512 - 1)}
		pages := (int(c.offset) + c.bytes + 4095) / 4096
		for i := 1; i < pages; i++ {
			binary.LittleEndian.PutUint64(h.mem.Bytes[atList+8*(i-1):], h.mem.IOVA+page(i))
		}
		if pages == 2 {
			cmd.PRP2 = h.mem.IOVA + page(1)
		}
		data := h.mem.Bytes[atData : atData+512<<10]
		for i := range data {
			data[i] = byte(i / 3 * len(c.name))
		}
		want := bytes.Clone(data)
		for _, opcode := range []uint8{spec.CmdWrite, spec.CmdRead} {
			s.lengths = nil
			cmd.Opcode = opcode
			require.Equal(t, spec.StatusSuccess, h.io(cmd), c.name)
			require.Equal(t, c.want, s.lengths, "%s, %s", c.name, spec.IOName(opcode))
			if opcode == spec.CmdWrite {
				for left, i, at := c.bytes, 0, int(c.offset); left > 0; i, at = i+1, 0 {
					n := min(left, 4096-at)
					clear(data[int(page(i))-atData+at:][:n])
					left -= n
				}
			}
		}
		require.True(t, bytes.Equal(want, data), c.name)
	}
}

// TestFixed: a controller that serves what is not its own offers no command that changes what it is.
func TestFixed(t *testing.T) {
	h := newHost(t, softctrl.Config{Fixed: true, Namespaces: oneSpace(t)}, 16)
	require.Equal(t, spec.StatusSuccess, h.admin(spec.Command{Opcode: spec.AdminIdentify, CDW10: spec.CNSController, PRP1: h.mem.IOVA + atData}))
	var id spec.IdentifyController
	require.NoError(t, id.Unmarshal(h.mem.Bytes[atData:]))
	require.Zero(t, id.OACS)
	require.Zero(t, id.SANICAP)
	for _, opcode := range []uint8{spec.AdminFormat, spec.AdminSanitize, spec.AdminNSManagement, spec.AdminNSAttachment,
		spec.AdminFirmwareDownload, spec.AdminFirmwareCommit, spec.AdminSecuritySend, spec.AdminSecurityReceive} {
		c := spec.Command{Opcode: opcode, NSID: 1, PRP1: h.mem.IOVA + atData, CDW10: 2}
		require.Equal(t, spec.StatusInvalidOpcode, h.admin(c).Code(), spec.AdminName(opcode))
	}
}

// TestBadCommands: what a host may do wrong has its status.
func TestBadCommands(t *testing.T) {
	h := newHost(t, softctrl.Config{Namespaces: oneSpace(t)}, 16)
	ok := spec.Command{Opcode: spec.CmdRead, NSID: 1, PRP1: h.mem.IOVA + atData, CDW12: 7}
	for want, change := range map[spec.Status]func(*spec.Command){
		spec.StatusSuccess:           func(*spec.Command) {},
		spec.StatusInvalidNamespace:  func(c *spec.Command) { c.NSID = 9 },
		spec.StatusInvalidOpcode:     func(c *spec.Command) { c.Opcode = 0x99 },
		spec.StatusLBAOutOfRange:     func(c *spec.Command) { c.SetLBA(2047) },
		spec.StatusPRPOffset:         func(c *spec.Command) { c.PRP1 += 2 },
		spec.StatusDataTransferError: func(c *spec.Command) { c.PRP1 = 1 << 50 },
		spec.StatusInvalidField:      func(c *spec.Command) { c.CDW12 = 1000 },
		spec.StatusAbortFusedMissing: func(c *spec.Command) { c.Flags = spec.FuseSecond },
	} {
		c := ok
		change(&c)
		require.Equal(t, want, h.io(c).Code())
	}
	for want, c := range map[spec.Status]spec.Command{
		spec.StatusInvalidQID:           {Opcode: spec.AdminDeleteSQ, CDW10: 7},
		spec.StatusInvalidQueueDeletion: {Opcode: spec.AdminDeleteCQ, CDW10: 1},
		spec.StatusInvalidCQ:            {Opcode: spec.AdminCreateSQ, CDW10: 2 | 3<<16, CDW11: 1 | 9<<16},
		spec.StatusInvalidQueueSize:     {Opcode: spec.AdminCreateCQ, CDW10: 2, CDW11: 1},
		spec.StatusInvalidLogPage:       {Opcode: spec.AdminGetLogPage, CDW10: 0xDD},
		spec.StatusInvalidOpcode:        {Opcode: 0x7F},
		spec.StatusInvalidNamespace:     {Opcode: spec.AdminIdentify, NSID: 77},
	} {
		require.Equal(t, want, h.admin(c).Code())
	}
}

// TestFullCompletionQueue: completions wait until the host has taken some, and are announced then. It makes no difference how the host says
// so, and one that does not has its commands wait as well.
func TestFullCompletionQueue(t *testing.T) {
	for name, hear := range map[string]func(h *host){
		"by a doorbell": func(h *host) { h.hear(1) },
		"in memory that the server polls": func(h *host) {
			binary.LittleEndian.PutUint32(h.tr.Window(spec.CompletionDoorbell(1, 0), 4), h.head[1])
			h.tr.Controller().Process()
		},
		"in a shadow doorbell, as the event index asks for": func(h *host) {
			word := atShadow + int(spec.CompletionDoorbell(1, 0)-spec.RegDoorbells)
			old := binary.LittleEndian.Uint32(h.mem.Bytes[word:])
			binary.LittleEndian.PutUint32(h.mem.Bytes[word:], h.head[1])
			if event := binary.LittleEndian.Uint32(h.mem.Bytes[word+4096:]); event == old {
				h.hear(1)
			}
		},
	} {
		interrupts, carriedOut := 0, 0
		h := newHost(t, softctrl.Config{Namespaces: oneSpace(t), Shadow: true, Vectors: 2,
			Interrupt: func(uint16) { interrupts++ }, Observe: func(sqid uint16, _ spec.Command) { carriedOut += int(sqid) }}, 4)
		shadowed := strings.Contains(name, "shadow")
		if shadowed {
			require.True(t, h.admin(spec.Command{Opcode: spec.AdminDoorbellBuffer, PRP1: h.mem.IOVA + atShadow, PRP2: h.mem.IOVA + atShadow + 4096}).OK())
		}
		want := []uint16{}
		for range 3 {
			for range 3 {
				want = append(want, h.put(1, spec.Command{Opcode: spec.CmdFlush, NSID: 1}))
			}
			if shadowed {
				binary.LittleEndian.PutUint32(h.mem.Bytes[atShadow+int(spec.SubmissionDoorbell(1, 0)-spec.RegDoorbells):], h.tail[1])
			}
			h.ring(1)
		}
		require.Equal(t, 6, carriedOut, name)
		var got []uint16
		for len(got) < len(want) {
			before := len(got)
			for e, ok := h.take(1); ok; e, ok = h.take(1) {
				got = append(got, e.CID)
			}
			require.LessOrEqual(t, len(got)-before, 3, name)
			require.Greater(t, len(got), before, name)
			told := interrupts
			hear(h)
			if len(got) < len(want) {
				require.Greater(t, interrupts, told, name)
			}
		}
		require.Equal(t, want, got, name)
	}
}

// TestWildDoorbells: values and places that make no sense change nothing.
func TestWildDoorbells(t *testing.T) {
	h := newHost(t, softctrl.Config{Namespaces: oneSpace(t)}, 16)
	for _, offset := range []uint32{spec.RegDoorbells + 4, spec.RegDoorbells + 2, spec.SubmissionDoorbell(9, 0), spec.SubmissionDoorbell(5000, 0), ^uint32(3)} {
		require.NoError(t, h.tr.Store32(offset, 0xFFFF))
	}
	require.NoError(t, h.tr.Store32(spec.SubmissionDoorbell(1, 0), 16))
	_, ok := h.take(1)
	require.False(t, ok)
	require.NoError(t, h.tr.Store32(spec.CompletionDoorbell(0, 0), h.head[0]))
	require.Equal(t, spec.StatusSuccess, h.io(spec.Command{Opcode: spec.CmdFlush, NSID: 1}))
}

// TestBadStart: an enable that makes no sense is fatal, and a reset helps.
func TestBadStart(t *testing.T) {
	tr, err := softctrl.NewTransport(softctrl.Config{}, softctrl.TransportOptions{})
	require.NoError(t, err)
	require.NoError(t, tr.Store32(spec.RegCC, uint32(spec.MakeCC(0, 3))))
	v, err := tr.Load32(spec.RegCSTS)
	require.NoError(t, err)
	require.True(t, spec.CSTS(v).CFS())
	require.NoError(t, tr.Store32(spec.RegCC, 0))
	v, err = tr.Load32(spec.RegCSTS)
	require.NoError(t, err)
	require.Zero(t, v)
	_, err = tr.Map(make([]byte, 100))
	require.ErrorIs(t, err, nvme.ErrInvalid)
	require.NoError(t, tr.Close())
	require.ErrorIs(t, tr.Store32(spec.RegCC, 0), nvme.ErrGone)
	require.ErrorIs(t, tr.Close(), nvme.ErrGone)
	_, err = softctrl.New(softctrl.Config{Queues: 5000}, tr)
	require.Error(t, err)
	_, err = softctrl.New(softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{Storage: storage(t, 4096), BlockSize: 1000}}}, tr)
	require.Error(t, err)
}

// FuzzHost: a host that writes anything into queues, lists, registers and doorbells gets statuses, never a panic, and a
// controller that works after a reset.
func FuzzHost(f *testing.F) {
	seed := make([]byte, 0, 256)
	for _, c := range []spec.Command{{Opcode: spec.CmdRead, NSID: 1, PRP1: 1 << 40, CDW12: 7}, {Opcode: spec.CmdDSM, NSID: 1, PRP1: 1 << 40, CDW11: 4},
		{Opcode: spec.CmdCopy, NSID: 2, PRP1: 1 << 40}, {Opcode: spec.CmdZoneReceive, NSID: 3, PRP1: 1 << 40, CDW12: 100}} {
		b := make([]byte, spec.CommandSize)
		c.Put(b)
		seed = append(seed, b...)
	}
	f.Add(seed, uint8(1), uint32(spec.RegCC), uint32(0x460001))
	f.Add(seed, uint8(0), uint32(spec.RegDoorbells), uint32(3))
	spaces := []softctrl.NamespaceConfig{{Storage: storage(f, 1<<18)},
		{Storage: storage(f, 1<<18), BlockSize: 4096, MetaSize: 16, Protection: 1}, {Storage: storage(f, 1<<18), ZoneBlocks: 64, MaxOpen: 2},
		{Storage: storage(f, 1<<18), MetaSize: 8, Extended: true, Protection: 2}}
	f.Fuzz(func(t *testing.T, commands []byte, queue uint8, register, value uint32) {
		h := newHost(t, softctrl.Config{SGL: true, Shadow: true, WriteCache: true, AtomicBlocks: 8, Namespaces: spaces}, 32)
		q := int(queue) % 2
		for i := 0; i+spec.CommandSize <= len(commands) && i < 16*spec.CommandSize; i += spec.CommandSize {
			var c spec.Command
			c.Get(commands[i:])
			c.PRP1 = c.PRP1&^(1<<40-1) | (c.PRP1 & 0xFFFFF) // now and then within memory
			h.put(q, c)
		}
		copy(h.mem.Bytes[atData:], commands)
		h.ring(q)
		h.tr.Controller().Store(register, uint64(value), 4)
		h.tr.Controller().Process()
		_ = h.tr.Controller().Load(register, 8)
		require.NoError(t, h.tr.Reset())
		v, err := h.tr.Load32(spec.RegCSTS)
		require.NoError(t, err)
		require.Zero(t, v)
	})
}
