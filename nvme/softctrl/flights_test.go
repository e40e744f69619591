package softctrl_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// slowStorage is queued storage whose operations end when the test says so, or somebody waits, in any order.
type slowStorage struct {
	softctrl.Storage
	rng     *rand.Rand
	refuses softctrl.StorageKind // an operation that it does not take, StorageFlush+1 for none
	fails   error
	under   []slowOp
	ended   int // operations that may end
	most    int // operations under way at a time
	closed  bool
	faults  bool // the host\'s memory is not there when somebody waits, once
}

type slowOp struct {
	tag int
	op  softctrl.StorageOp
}

const refusesNone = softctrl.StorageFlush + 1

func newSlow(t *testing.T) *slowStorage { return newSlowOf(t, 1<<20) }

func newSlowOf(t *testing.T, size int64) *slowStorage {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return &slowStorage{Storage: storage(t, size), rng: rand.New(rand.NewPCG(seed, 0)), refuses: refusesNone}
}

func (s *slowStorage) OpenQueue(int) (softctrl.StorageQueue, error) { return s, nil }

func (s *slowStorage) Start(tag int, o softctrl.StorageOp) bool {
	if o.Kind == s.refuses {
		return false
	}
	s.under = append(s.under, slowOp{tag, o})
	s.most = max(s.most, len(s.under))
	return true
}

func (s *slowStorage) Poll(wait bool, ended func(int, error)) (n int) {
	if wait && s.faults {
		s.faults = false
		panic("the host's memory is not there")
	}
	for len(s.under) > 0 && (s.ended > 0 || wait && n == 0) {
		i := s.rng.IntN(len(s.under))
		o := s.under[i]
		s.under = append(s.under[:i], s.under[i+1:]...)
		s.ended = max(0, s.ended-1)
		n++
		ended(o.tag, s.carryOut(o.op))
	}
	return n
}

func (s *slowStorage) carryOut(o softctrl.StorageOp) error {
	if s.fails != nil {
		return s.fails
	}
	var err error
	switch o.Kind {
	case softctrl.StorageRead:
		_, err = s.ReadAt(o.Buf, o.Offset)
	case softctrl.StorageWrite:
		_, err = s.WriteAt(o.Buf, o.Offset)
	case softctrl.StorageFlush:
		err = s.Flush()
	}
	return err
}

func (s *slowStorage) Close() error {
	if len(s.under) > 0 {
		return fmt.Errorf("%d operations under way", len(s.under))
	}
	s.closed = true
	return nil
}

func slowHost(t *testing.T, s *slowStorage) *host {
	return newHost(t, softctrl.Config{SGL: true, MDTS: softctrl.NoLimit, AtomicBlocks: 8, Namespaces: []softctrl.NamespaceConfig{{Storage: s}}}, 64)
}

// transferOf is a read or write of some blocks of 512 bytes at an LBA, with the data at an offset of the host's memory.
func (h *host) transferOf(opcode uint8, lba uint64, blocks, at int) spec.Command {
	return spec.Command{Opcode: opcode, NSID: 1, CDW10: uint32(lba), CDW12: uint32(blocks - 1), PRP1: h.mem.IOVA + uint64(at)}
}

// finish lets all operations end and returns the statuses by command.
func (h *host) finish(s *slowStorage) map[uint16]spec.Status {
	s.ended = len(s.under)
	h.tr.Controller().Process()
	all := map[uint16]spec.Status{}
	for e, ok := h.take(1); ok; e, ok = h.take(1) {
		all[e.CID] = e.Status
	}
	h.hear(1)
	return all
}

// TestUnderWay has many commands under way at a time, which end in any order, each with its own data.
func TestUnderWay(t *testing.T) {
	s := newSlow(t)
	h := slowHost(t, s)
	const n = 40
	for i := range n {
		copy(h.mem.Bytes[atData+i*512:], bytes.Repeat([]byte{byte(i + 1)}, 512))
		h.put(1, h.transferOf(spec.CmdWrite, uint64(i), 1, atData+i*512))
	}
	h.ring(1)
	_, ended := h.take(1)
	require.False(t, ended)
	require.Equal(t, n, s.most)
	require.True(t, h.tr.Controller().Working())
	require.Len(t, h.finish(s), n)
	require.False(t, h.tr.Controller().Working())
	clear(h.mem.Bytes[atData:])
	for i := range n {
		h.put(1, h.transferOf(spec.CmdRead, uint64(n-1-i), 1, atData+i*512))
	}
	h.put(1, spec.Command{Opcode: spec.CmdFlush, NSID: 1})
	h.ring(1)
	for cid, st := range h.finish(s) {
		require.Equal(t, spec.StatusSuccess, st, cid)
	}
	for i := range n {
		require.Equal(t, bytes.Repeat([]byte{byte(n - i)}, 512), h.mem.Bytes[atData+i*512:][:512], i)
	}
}

// TestUnderWayInBatches tells the host of what has ended before all that it rang for has begun.
func TestUnderWayInBatches(t *testing.T) {
	s := newSlow(t)
	h := slowHost(t, s)
	s.ended = 1000
	for range 40 {
		h.put(1, h.transferOf(spec.CmdWrite, 0, 1, atData))
	}
	h.ring(1)
	require.Equal(t, 16, s.most)
	require.Len(t, s.under, 40%16)
	h.tr.Controller().Drain()
}

// scattered is a transfer of 16 KiB from the middle of a page on, with every other page of the host's memory from an offset.
func (h *host) scattered(opcode uint8, lba uint64, at, list int) spec.Command {
	c := h.transferOf(opcode, lba, 32, at+512)
	c.PRP2 = h.mem.IOVA + uint64(list)
	for i := range 4 {
		binary.LittleEndian.PutUint64(h.mem.Bytes[list+8*i:], h.mem.IOVA+uint64(at+(i+1)*8192))
	}
	return c
}

// TestUnderWayInPieces: memory in pieces goes through one piece of the controller's own, and none of that is left in use.
func TestUnderWayInPieces(t *testing.T) {
	s := newSlow(t)
	h := slowHost(t, s)
	held := dmabuf.Held()
	const second = atData + 64<<10
	for i := range h.mem.Bytes[atData:] {
		h.mem.Bytes[atData+i] = byte(i / 5 >> (i >> 16))
	}
	want := bytes.Clone(h.mem.Bytes)
	both := func(opcode uint8) {
		h.put(1, h.scattered(opcode, 0, atData, atList))
		h.put(1, h.scattered(opcode, 100, second, atList+64))
		h.ring(1)
		require.Len(t, s.under, 2)
		require.Len(t, s.under[0].op.Buf, 16<<10)
	}
	both(spec.CmdWrite)
	clear(h.mem.Bytes[atData:]) // what is to be written has been copied
	require.Len(t, h.finish(s), 2)
	both(spec.CmdRead)
	for _, st := range h.finish(s) {
		require.Equal(t, spec.StatusSuccess, st)
	}
	for _, at := range []int{atData, second} {
		require.Equal(t, want[at+512:at+4096], h.mem.Bytes[at+512:at+4096])
		for i := range 3 {
			from := at + (i+1)*8192
			require.Equal(t, want[from:from+4096], h.mem.Bytes[from:from+4096], i)
		}
		require.Equal(t, want[at+4*8192:][:512], h.mem.Bytes[at+4*8192:][:512])
	}
	require.NoError(t, h.tr.Controller().Close())
	require.Equal(t, held, dmabuf.Held())
}

// TestUnderWayFails with the status that says what the storage said.
func TestUnderWayFails(t *testing.T) {
	for _, c := range []struct {
		opcode uint8
		err    error
		want   spec.Status
	}{
		{spec.CmdRead, errors.New("bad"), spec.StatusUnrecoveredRead},
		{spec.CmdWrite, errors.New("bad"), spec.StatusWriteFault},
		{spec.CmdFlush, errors.New("bad"), spec.StatusWriteFault},
		{spec.CmdWrite, fmt.Errorf("x: %w", softctrl.ErrNoSpace), spec.StatusCapacityExceeded | spec.StatusDNR},
	} {
		s := newSlow(t)
		h := slowHost(t, s)
		s.fails = c.err
		cid := h.put(1, h.transferOf(c.opcode, 0, 1, atData))
		h.ring(1)
		require.Equal(t, map[uint16]spec.Status{cid: c.want}, h.finish(s))
	}
}

// TestUnderWayEnds whatever takes the queue, the controller or the pair of blocks away: commands are done before.
func TestUnderWayEnds(t *testing.T) {
	for name, do := range map[string]func(h *host){
		"deletion": func(h *host) {
			require.True(t, h.admin(spec.Command{Opcode: spec.AdminDeleteSQ, CDW10: 1}).OK())
		},
		"disabling": func(h *host) { require.NoError(t, h.tr.Store32(spec.RegCC, 0)) },
		"shutdown": func(h *host) {
			require.NoError(t, h.tr.Store32(spec.RegCC, uint32(spec.MakeCC(spec.CCCSSAll, 0).WithSHN(spec.SHNNormal))))
		},
		"reset":  func(h *host) { require.NoError(t, h.tr.Reset()) },
		"drain":  func(h *host) { h.tr.Controller().Drain() },
		"format": func(h *host) { require.True(t, h.admin(spec.Command{Opcode: spec.AdminFormat, NSID: 1}).OK()) },
		"sanitize": func(h *host) {
			require.True(t, h.admin(spec.Command{Opcode: spec.AdminSanitize, CDW10: spec.SanitizeBlock}).OK())
		},
		"copy": func(h *host) {
			spec.CopyRange{LBA: 1, Blocks: 1}.Put(h.mem.Bytes[atList:])
			h.put(1, spec.Command{Opcode: spec.CmdCopy, NSID: 1, CDW10: 9, PRP1: h.mem.IOVA + atList})
			h.ring(1)
		},
		"fused pair": func(h *host) {
			first, second := h.transferOf(spec.CmdCompare, 1, 1, atData), h.transferOf(spec.CmdWrite, 1, 1, atData)
			first.Flags, second.Flags = spec.FuseFirst, spec.FuseSecond
			h.put(1, first)
			h.put(1, second)
			h.ring(1)
		},
	} {
		s := newSlow(t)
		h := slowHost(t, s)
		for i := range 10 {
			h.put(1, h.transferOf(spec.CmdWrite, uint64(i), 1, atData))
		}
		h.ring(1)
		require.Len(t, s.under, 10, name)
		do(h)
		require.Empty(t, s.under, name)
		require.False(t, h.tr.Controller().Working(), name)
		for i := range 10 {
			e, ok := h.take(1)
			require.True(t, ok && e.Status.OK(), "%s: completion %d", name, i)
		}
	}
}

// TestUnderWayAtClose ends operations without a look at the host's memory.
func TestUnderWayAtClose(t *testing.T) {
	s := newSlow(t)
	h := slowHost(t, s)
	h.put(1, h.transferOf(spec.CmdRead, 0, 1, atData))
	h.ring(1)
	require.NoError(t, h.tr.Controller().Close())
	require.True(t, s.closed)
	s.closed = false
	require.NoError(t, h.tr.Controller().Close())
	require.False(t, s.closed, "it was closed a second time")
	_, ok := h.take(1)
	require.False(t, ok)
}

// TestUnderWayIsBounded: a host that has more commands than the storage takes waits in its ring.
func TestUnderWayIsBounded(t *testing.T) {
	s := newSlow(t)
	h := slowHost(t, s)
	for range 8 {
		for range 63 {
			h.put(1, h.transferOf(spec.CmdWrite, 0, 1, atData))
		}
		h.ring(1)
	}
	require.Equal(t, 256, s.most)
	h.tr.Controller().Drain()
}

// TestUnderWayFaults: a fault while a command waits for its turn leaves nothing behind that Close would miss.
func TestUnderWayFaults(t *testing.T) {
	s := newSlow(t)
	h := slowHost(t, s)
	s.faults = true
	require.Panics(t, func() {
		for range 300 {
			h.put(1, h.scattered(spec.CmdRead, 0, atData, atList))
			h.ring(1)
		}
	})
	require.Equal(t, 256, s.most)
	require.NoError(t, h.tr.Controller().Close())
	require.True(t, s.closed)
}

// TestUnderWayRefused carries out what the queue does not take.
func TestUnderWayRefused(t *testing.T) {
	for _, kind := range []softctrl.StorageKind{softctrl.StorageRead, softctrl.StorageWrite, softctrl.StorageFlush} {
		s := newSlow(t)
		h := slowHost(t, s)
		s.refuses = kind
		opcode := []uint8{spec.CmdRead, spec.CmdWrite, spec.CmdFlush}[kind]
		require.True(t, h.io(h.transferOf(opcode, 0, 1, atData)).OK())
		require.True(t, h.io(h.scattered(opcode, 0, atData, atList)).OK())
		require.Empty(t, s.under)
	}
}

// TestUnderWayTooLarge: what is in pieces and larger than any buffer is carried out at once.
func TestUnderWayTooLarge(t *testing.T) {
	const size, piece = 6 << 20, 64 << 10
	s := newSlowOf(t, size)
	h := slowHost(t, s)
	for i := range size / piece {
		spec.SGL{Address: h.mem.IOVA + atData + uint64(i%2*piece), Length: piece, Type: spec.SGLTypeData}.Put(h.mem.Bytes[atList+i*spec.SGLSize:])
	}
	c := h.transferOf(spec.CmdRead, 0, size/512, 0)
	c.SetSGL(spec.SGL{Address: h.mem.IOVA + atList, Length: size / piece * spec.SGLSize, Type: spec.SGLTypeLastSegment})
	require.True(t, h.io(c).OK())
	require.Zero(t, s.most)
}

// TestNoQueue: a namespace with metadata or zones has none, and one that opens none is an error.
func TestNoQueue(t *testing.T) {
	for _, n := range []softctrl.NamespaceConfig{{MetaSize: 8}, {ZoneBlocks: 64}} {
		s := newSlow(t)
		n.Storage = s
		h := newHost(t, softctrl.Config{Namespaces: []softctrl.NamespaceConfig{n}}, 16)
		require.False(t, h.tr.Controller().Working())
		h.put(1, spec.Command{Opcode: spec.CmdFlush, NSID: 1})
		h.ring(1)
		require.Empty(t, s.under)
	}
	bad, good := errors.New("bad"), newSlow(t)
	_, err := softctrl.NewTransport(softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{Storage: good}, {Storage: noQueue{storage(t, 4096), bad}}}},
		softctrl.TransportOptions{})
	require.ErrorIs(t, err, bad)
	require.True(t, good.closed)
}

type noQueue struct {
	softctrl.Storage
	err error
}

func (s noQueue) OpenQueue(int) (softctrl.StorageQueue, error) { return nil, s.err }
