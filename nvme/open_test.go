package nvme_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// hooked is a transport whose register reads and writes a test changes.
type hooked struct {
	*softctrl.Transport
	load  func(offset uint32, value uint64) uint64
	store func(offset uint32, value uint64) bool // false swallows it
}

func (h *hooked) Load32(offset uint32) (uint32, error) {
	v, err := h.Transport.Load32(offset)
	return uint32(h.load(offset, uint64(v))), err
}

func (h *hooked) Load64(offset uint32) (uint64, error) {
	v, err := h.Transport.Load64(offset)
	return h.load(offset, v), err
}

func (h *hooked) Store32(offset uint32, value uint32) error {
	if h.store != nil && !h.store(offset, uint64(value)) {
		return nil
	}
	return h.Transport.Store32(offset, value)
}

func openHooked(t *testing.T, cfg softctrl.Config, h *hooked) (*nvme.Controller, *fakeClock, error) {
	clock := &fakeClock{}
	cfg.Now = clock.Now
	if cfg.Namespaces == nil {
		cfg.Namespaces = []softctrl.NamespaceConfig{{Storage: ram(t, 1<<20, false)}}
	}
	var err error
	h.Transport, err = softctrl.NewTransport(cfg, softctrl.TransportOptions{NoReset: true})
	require.NoError(t, err)
	if h.load == nil {
		h.load = func(_ uint32, v uint64) uint64 { return v }
	}
	c, err := nvme.Open(h, nvme.Options{Clock: clock, AdminTimeout: time.Second, Queues: 2})
	if err != nil {
		require.Zero(t, h.Mappings(), "memory is left")
		require.Error(t, h.Transport.Close(), "the transport is left open")
	}
	return c, clock, err
}

// TestOpenLies: registers that make no sense, or never change, are an error in time.
func TestOpenLies(t *testing.T) {
	at := func(reg uint32, f func(uint64) uint64) func(uint32, uint64) uint64 {
		return func(offset uint32, v uint64) uint64 {
			if offset == reg {
				return f(v)
			}
			return v
		}
	}
	for _, c := range []struct {
		name  string
		load  func(uint32, uint64) uint64
		limit time.Duration
		want  error
	}{
		{"not on the bus", func(uint32, uint64) uint64 { return ^uint64(0) }, 0, nvme.ErrGone},
		{"leaves early", at(spec.RegCSTS, func(uint64) uint64 { return spec.AllOnes }), 0, nvme.ErrGone},
		{"queues of one", at(spec.RegCAP, func(v uint64) uint64 { return v &^ 0xFFFF }), 0, nvme.ErrProtocol},
		{"no command set", at(spec.RegCAP, func(v uint64) uint64 { return v &^ (0xFF << 37) }), 0, nvme.ErrUnsupported},
		{"large pages", at(spec.RegCAP, func(v uint64) uint64 { return v | 1<<48 }), 0, nvme.ErrUnsupported},
		{"never quiet", at(spec.RegCSTS, func(v uint64) uint64 { return v | 1 }), readyTimeout, nvme.ErrTimeout},
		{"never ready", at(spec.RegCSTS, func(v uint64) uint64 { return v &^ 1 }), readyTimeout, nvme.ErrTimeout},
		{"fatal", at(spec.RegCSTS, func(v uint64) uint64 { return v | 2 }), readyTimeout, nvme.ErrFailed},
	} {
		_, clock, err := openHooked(t, softctrl.Config{}, &hooked{load: c.load})
		require.ErrorIs(t, err, c.want, c.name)
		require.LessOrEqual(t, clock.Now(), c.limit+10*time.Millisecond, c.name)
	}
}

// TestOpenFinds: a controller that somebody left running, or starting, or that is fatal, is taken over.
func TestOpenFinds(t *testing.T) {
	for _, cc := range []spec.CC{0, spec.MakeCC(0, 0), spec.MakeCC(0, 0).WithSHN(spec.SHNNormal)} {
		clock := &fakeClock{}
		tr, err := softctrl.NewTransport(softctrl.Config{Now: clock.Now}, softctrl.TransportOptions{})
		require.NoError(t, err)
		if cc != 0 {
			require.NoError(t, tr.Store32(spec.RegAQA, spec.AQA(4, 4)))
			require.NoError(t, tr.Store32(spec.RegCC, uint32(cc)))
		}
		c, err := nvme.Open(tr, nvme.Options{Clock: clock})
		require.NoError(t, err)
		require.Empty(t, c.Namespaces())
		require.NoError(t, c.Close())
	}
}

// TestOpenSilent: the controller does not answer one admin command of the boot.
func TestOpenSilent(t *testing.T) {
	for _, opcode := range []int{spec.AdminIdentify, spec.AdminSetFeatures, spec.AdminGetFeatures, spec.AdminDoorbellBuffer} {
		for skip := range 4 {
			s := setup{cfg: softctrl.Config{Shadow: true, WriteCache: true}, tr: softctrl.TransportOptions{NoReset: true}, o: nvme.Options{AdminTimeout: time.Second}}
			var soft *softctrl.Controller
			s.started = func(c *softctrl.Controller) {
				soft = c
				c.Inject(softctrl.Fault{Admin: true, Opcode: opcode, Skip: skip, Do: softctrl.Lose})
			}
			r, err := tryRig(t, s)
			require.LessOrEqual(t, r.clock.Now(), 1100*time.Millisecond)
			if err == nil { // there are not so many of them
				require.Positive(t, skip)
				require.NoError(t, r.c.Close())
				continue
			}
			require.ErrorIs(t, err, nvme.ErrTimeout)
			require.NotNil(t, soft)
		}
	}
}

// servingClock has the controller carry out slow commands as time passes.
type servingClock struct {
	fakeClock
	soft *softctrl.Controller
}

func (c *servingClock) Sleep(d time.Duration) {
	c.fakeClock.Sleep(d)
	c.soft.Process()
}

// TestOpenSlow: a controller that answers every question just in time is an error in time as well.
func TestOpenSlow(t *testing.T) {
	clock := &servingClock{}
	cfg := softctrl.Config{Now: clock.Now}
	for range 100 {
		cfg.Namespaces = append(cfg.Namespaces, softctrl.NamespaceConfig{Storage: ram(t, 1<<16, false)})
	}
	tr, err := softctrl.NewTransport(cfg, softctrl.TransportOptions{NoReset: true})
	require.NoError(t, err)
	clock.soft = tr.Controller()
	clock.soft.Inject(softctrl.Fault{Admin: true, Opcode: spec.AdminIdentify, Do: softctrl.Slow, Delay: 900 * time.Millisecond, Times: -1})
	_, err = nvme.Open(tr, nvme.Options{Clock: clock, AdminTimeout: time.Second})
	require.ErrorIs(t, err, nvme.ErrTimeout)
	require.Greater(t, clock.Now(), 9*time.Second, "no single command was late")
	require.Less(t, clock.Now(), 15*time.Second)
}

// TestTooManyNamespaces: those that the driver does not look at are named as such, and are there when others have left.
func TestTooManyNamespaces(t *testing.T) {
	for _, version := range []spec.VS{spec.Version(2, 0, 0), spec.Version(1, 0, 0)} {
		s := setup{cfg: softctrl.Config{Version: version}}
		store := ram(t, 1<<16, false)
		for range 300 {
			s.cfg.Namespaces = append(s.cfg.Namespaces, softctrl.NamespaceConfig{Storage: store})
		}
		r := newRig(t, s)
		require.Len(t, r.c.Namespaces(), 256)
		_, err := r.c.Namespace(256)
		require.NoError(t, err)
		for _, id := range []uint32{257, 300} {
			_, err = r.c.Namespace(id)
			require.ErrorIs(t, err, nvme.ErrNoNamespace)
			require.ErrorIs(t, err, nvme.ErrUnsupported)
			require.ErrorContains(t, err, "those below 257")
		}
		if version.AtLeast(1, 1) {
			require.NoError(t, r.c.AttachNamespace(7, false))
			_, err = r.c.Namespace(257)
			require.NoError(t, err)
			_, err = r.c.Namespace(258)
			require.ErrorIs(t, err, nvme.ErrUnsupported)
		}
	}
}

// TestOpenRefusals: what a controller may refuse does not matter; what it may not is an error.
func TestOpenRefusals(t *testing.T) {
	for _, c := range []struct {
		opcode int
		skip   int
		fails  bool
	}{
		{spec.AdminIdentify, 0, true}, {spec.AdminSetFeatures, 0, true}, {spec.AdminIdentify, 1, false}, {spec.AdminIdentify, 2, false},
		{spec.AdminIdentify, 3, true}, {spec.AdminSetFeatures, 1, false}, {spec.AdminSetFeatures, 2, false}, {spec.AdminGetFeatures, 0, false},
		{spec.AdminDoorbellBuffer, 0, false}, {spec.AdminIdentify, 5, false}, {spec.AdminIdentify, 6, false},
	} {
		s := setup{cfg: softctrl.Config{Shadow: true, WriteCache: true}, tr: softctrl.TransportOptions{NoReset: true}}
		s.started = func(ctrl *softctrl.Controller) {
			ctrl.Inject(softctrl.Fault{Admin: true, Opcode: c.opcode, Skip: c.skip, Do: softctrl.FailWith, Status: spec.StatusInvalidField | spec.StatusDNR})
		}
		r, err := tryRig(t, s)
		if c.fails {
			require.ErrorIs(t, err, nvme.ErrInvalid, c)
			continue
		}
		require.NoError(t, err, c)
		require.Len(t, r.c.Namespaces(), 1, c)
		require.NoError(t, r.c.Close())
	}
}

// TestIdentifyLies: what a controller says of itself and its namespaces is checked.
func TestIdentifyLies(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name string
		cns  uint8
		lie  func(page []byte)
		want error // of Open; otherwise that of Namespace
		ns   error
	}{
		{"entries of 128 bytes", spec.CNSController, func(b []byte) { b[512] = 0x77 }, nvme.ErrUnsupported, nil},
		{"a discovery controller", spec.CNSController, func(b []byte) { b[111] = 2 }, nvme.ErrUnsupported, nil},
		{"namespaces out of order", spec.CNSActiveList, func(b []byte) { le.PutUint32(b, 5); le.PutUint32(b[4:], 5) }, nvme.ErrProtocol, nil},
		{"the broadcast namespace", spec.CNSActiveList, func(b []byte) { le.PutUint32(b, spec.BroadcastNSID) }, nvme.ErrProtocol, nil},
		{"no blocks", spec.CNSNamespace, func(b []byte) { clear(b[:8]) }, nil, nvme.ErrNoNamespace},
		{"more bytes than there are numbers", spec.CNSNamespace, func(b []byte) { le.PutUint64(b, 1<<60) }, nil, nvme.ErrProtocol},
		{"a format that is not there", spec.CNSNamespace, func(b []byte) { b[26] = 9 }, nil, nvme.ErrProtocol},
		{"100 formats", spec.CNSNamespace, func(b []byte) { b[25] = 99 }, nil, nvme.ErrProtocol},
		{"blocks of one byte", spec.CNSNamespace, func(b []byte) { b[128+2] = 0 }, nil, nvme.ErrUnsupported},
		{"blocks of 2^64 bytes", spec.CNSNamespace, func(b []byte) { b[128+2] = 64 }, nil, nvme.ErrUnsupported},
		{"blocks larger than transfers", spec.CNSNamespace, func(b []byte) { b[128+2] = 16 }, nil, nvme.ErrUnsupported},
		{"protection without room", spec.CNSNamespace, func(b []byte) { b[29] = 1 }, nil, nvme.ErrProtocol},
		{"protection type 5", spec.CNSNamespace, func(b []byte) { b[29] = 5 }, nil, nvme.ErrProtocol},
		{"a long identifier", spec.CNSDescriptors, func(b []byte) { b[0], b[1] = 1, 250 }, nil, nvme.ErrProtocol},
		{"a command set of its own", spec.CNSDescriptors, func(b []byte) { clear(b); b[0], b[1], b[4] = 4, 1, 9 }, nil, nvme.ErrUnsupported},
	} {
		s := setup{cfg: softctrl.Config{MDTS: 3}}
		s.cfg.MangleIdentify = func(cns, csi uint8, nsid uint32, page []byte) {
			if cns == c.cns {
				c.lie(page)
			}
		}
		r, err := tryRig(t, s)
		if c.want != nil {
			require.ErrorIs(t, err, c.want, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		require.Empty(t, r.c.Namespaces(), c.name)
		_, err = r.c.Namespace(1)
		require.ErrorIs(t, err, nvme.ErrNoNamespace, c.name)
		require.ErrorIs(t, err, c.ns, c.name)
		require.NoError(t, r.c.Close())
	}
}

// TestOpenWithoutMemory: every allocation may fail, and nothing is left.
func TestOpenWithoutMemory(t *testing.T) {
	none := errors.New("no memory")
	tr, err := softctrl.NewTransport(softctrl.Config{}, softctrl.TransportOptions{})
	require.NoError(t, err)
	tr.FailNext(none)
	_, err = nvme.Open(tr, nvme.Options{})
	require.ErrorIs(t, err, none)
	require.Zero(t, tr.Mappings())

	r := newRig(t, setup{})
	before := r.tr.Mappings()
	r.tr.FailNext(none)
	_, err = r.c.OpenQueue(nvme.QueueOptions{})
	require.ErrorIs(t, err, none)
	r.tr.FailNext(none)
	_, err = r.c.Alloc(1 << 20)
	require.ErrorIs(t, err, none)
	r.tr.FailNext(none)
	require.ErrorIs(t, r.c.Register(alignedArena(t, 4096)), none)
	require.Equal(t, before, r.tr.Mappings())
	tr, err = softctrl.NewTransport(softctrl.Config{}, softctrl.TransportOptions{})
	require.NoError(t, err)
	_, err = nvme.Open(tr, nvme.Options{Queues: 1000})
	require.ErrorIs(t, err, nvme.ErrInvalid)
	require.Error(t, tr.Close(), "Open closed it")
}

// TestQueues: as many as granted, each with its own identifier, within the memory of a controller.
func TestQueues(t *testing.T) {
	r := newRig(t, setup{cfg: softctrl.Config{Queues: 100}, o: nvme.Options{Queues: 128, MaxTransfer: 1 << 20}})
	require.Equal(t, 100, r.c.MaxQueues())
	queues := []*nvme.Queue{r.q}
	for range 99 {
		q, err := r.c.OpenQueue(nvme.QueueOptions{})
		require.NoError(t, err)
		require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: r.mem[4 : 4+200*blockSize]}))
		queues = append(queues, q)
	}
	require.LessOrEqual(t, r.c.MemoryUsed(), int64(4<<20))
	_, err := r.c.OpenQueue(nvme.QueueOptions{})
	require.ErrorIs(t, err, nvme.ErrNoQueues)
	used := r.c.MemoryUsed()
	require.NoError(t, queues[50].Close())
	require.ErrorIs(t, queues[50].Close(), nvme.ErrClosed)
	require.Less(t, r.c.MemoryUsed(), used)
	q, err := r.c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	require.Equal(t, queues[50].ID(), q.ID())
	require.Equal(t, used, r.c.MemoryUsed())
}

// countingTransport counts the memory that the driver has of it.
type countingTransport struct {
	*softctrl.Transport
	bytes, most int64
}

func (t *countingTransport) Alloc(size int) (nvme.DMA, error) {
	m, err := t.Transport.Alloc(size)
	if err == nil {
		t.bytes += pages(m)
		t.most = max(t.most, t.bytes)
	}
	return m, err
}

func (t *countingTransport) Free(m nvme.DMA) error {
	t.bytes -= pages(m)
	return t.Transport.Free(m)
}

func pages(m nvme.DMA) int64 { return int64(len(m.Bytes)+4095) &^ 4095 }

// TestMemory: whatever the controller offers, the driver takes no more than 4 MiB of device memory besides I/O buffers, and
// MemoryUsed has all of it.
func TestMemory(t *testing.T) {
	for _, queues := range []int{1, 8, 128} {
		for _, depth := range []int{2, 128, 1024} {
			t.Run(fmt.Sprintf("%d queues of %d", queues, depth), func(t *testing.T) {
				cfg := softctrl.Config{Queues: queues, Entries: 1024, Shadow: true, MDTS: softctrl.NoLimit}
				for range 40 {
					cfg.Namespaces = append(cfg.Namespaces, softctrl.NamespaceConfig{Storage: ram(t, 1<<20, false)})
				}
				soft, err := softctrl.NewTransport(cfg, softctrl.TransportOptions{})
				require.NoError(t, err)
				tr := &countingTransport{Transport: soft}
				c, err := nvme.Open(tr, nvme.Options{Queues: queues, Depth: depth, MaxTransfer: 1 << 20, Clock: &fakeClock{}})
				require.NoError(t, err)
				require.Len(t, c.Namespaces(), 40)
				require.Equal(t, queues, c.MaxQueues())
				for range queues {
					_, err := c.OpenQueue(nvme.QueueOptions{})
					require.NoError(t, err)
				}
				require.NoError(t, c.Reset())
				require.LessOrEqual(t, tr.most, int64(4<<20))
				require.LessOrEqual(t, tr.bytes, c.MemoryUsed(), "not accounted")
				require.LessOrEqual(t, c.MemoryUsed(), int64(4<<20))
				t.Logf("%d KiB", c.MemoryUsed()>>10)

				driver := tr.bytes
				mem, err := c.Alloc(1 << 20)
				require.NoError(t, err)
				require.Equal(t, driver+1<<20, tr.bytes, "an I/O buffer and nothing else")
				require.NoError(t, c.Free(mem))
				require.NoError(t, c.Close())
				require.Zero(t, tr.bytes)
			})
		}
	}
}

// TestQueueRefused: the controller does not create the queue.
func TestQueueRefused(t *testing.T) {
	r := newRig(t, setup{})
	before := r.tr.Mappings()
	for _, opcode := range []int{spec.AdminCreateCQ, spec.AdminCreateSQ} {
		r.soft.Inject(softctrl.Fault{Admin: true, Opcode: opcode, Do: softctrl.FailWith, Status: spec.StatusInvalidQID})
		_, err := r.c.OpenQueue(nvme.QueueOptions{})
		var status *nvme.StatusError
		require.ErrorAs(t, err, &status)
		require.Equal(t, before, r.tr.Mappings())
		r.soft.Inject(softctrl.Fault{Admin: true, Opcode: opcode, Do: softctrl.Lose})
		q, err := r.c.OpenQueue(nvme.QueueOptions{})
		require.NoError(t, err, "the reset created it")
		require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpFlush, NS: r.ns}))
		require.NoError(t, q.Close())
		require.Equal(t, before, r.tr.Mappings())
	}
}

func TestClose(t *testing.T) {
	r := newRig(t, setup{})
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Hang, Times: 2})
	reqs := r.start(3, nvme.OpRead)
	require.ErrorIs(t, r.q.Close(), nvme.ErrInUse)
	clock := &fakeClock{}
	second, err := softctrl.NewTransport(softctrl.Config{Now: clock.Now}, softctrl.TransportOptions{})
	require.NoError(t, err)
	c, err := nvme.Open(second, nvme.Options{Clock: clock})
	require.NoError(t, err)
	q, err := c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Equal(t, 1, second.Controller().Shutdowns(), "the controller was told")
	require.ErrorIs(t, q.Do(&nvme.Request{Op: nvme.OpFlush}), nvme.ErrGone)
	require.ErrorIs(t, c.Close(), nvme.ErrClosed)
	require.ErrorIs(t, c.Reset(), nvme.ErrGone)
	require.ErrorIs(t, q.Close(), nvme.ErrClosed)
	require.NoError(t, r.c.Reset())
	r.finish(reqs)
}

// TestCloseUnderLoad: what is outstanding fails.
func TestCloseUnderLoad(t *testing.T) {
	r, err := tryRig(t, setup{})
	require.NoError(t, err)
	r.q, err = r.c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	r.ns = r.c.Namespaces()[0]
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdFlush, Do: softctrl.Hang, Times: 9})
	reqs := []*nvme.Request{{Op: nvme.OpFlush, NS: r.ns}, {Op: nvme.OpFlush, NS: r.ns}}
	require.Equal(t, 2, r.q.Submit(reqs))
	require.NoError(t, r.c.Close())
	require.Equal(t, 2, r.q.Poll(make([]*nvme.Request, 4)))
	require.ErrorIs(t, reqs[1].Err, nvme.ErrClosed)
	require.Zero(t, r.tr.Mappings())
}

// TestCloseStuck: a controller that does not answer the shutdown, or does not stop, is an error in time.
func TestCloseStuck(t *testing.T) {
	for _, store := range []func(uint32, uint64) bool{
		func(offset uint32, v uint64) bool { return offset != spec.RegCC || spec.CC(v).SHN() == 0 },
		func(offset uint32, v uint64) bool { return offset != spec.RegCC || spec.CC(v).EN() },
	} {
		h := &hooked{}
		c, clock, err := openHooked(t, softctrl.Config{}, h)
		require.NoError(t, err)
		h.store = store
		start := clock.Now()
		require.ErrorIs(t, c.Close(), nvme.ErrTimeout)
		require.LessOrEqual(t, clock.Now()-start, 5*time.Second+readyTimeout+10*time.Millisecond)
		require.Zero(t, h.Mappings())
	}
}

// TestCloseSlow: a shutdown may take as long as the controller says (RTD3E), within bounds.
func TestCloseSlow(t *testing.T) {
	for rtd3e, want := range map[time.Duration]time.Duration{0: 5 * time.Second, 8 * time.Second: 8 * time.Second, time.Hour: 30 * time.Second} {
		lie := lying(spec.CNSController, 0, func(b []byte) { binary.LittleEndian.PutUint32(b[88:], uint32(rtd3e.Microseconds())) })
		h := &hooked{}
		c, clock, err := openHooked(t, softctrl.Config{MangleIdentify: lie}, h)
		require.NoError(t, err)
		h.store = func(offset uint32, v uint64) bool { return offset != spec.RegCC || spec.CC(v).SHN() == 0 }
		start := clock.Now()
		require.ErrorIs(t, c.Close(), nvme.ErrTimeout)
		require.InDelta(t, want, clock.Now()-start, float64(10*time.Millisecond))
	}
}

// oddMap is a transport that maps memory in the middle of a page.
type oddMap struct{ *softctrl.Transport }

func (o oddMap) Map(b []byte) (uint64, error) {
	v, err := o.Transport.Map(b)
	return v + 512, err
}

// TestRegisterPages: what is not whole pages on both sides is refused, and nothing of it stays mapped.
func TestRegisterPages(t *testing.T) {
	clock := &fakeClock{}
	tr, err := softctrl.NewTransport(softctrl.Config{Now: clock.Now}, softctrl.TransportOptions{})
	require.NoError(t, err)
	c, err := nvme.Open(oddMap{tr}, nvme.Options{Clock: clock})
	require.NoError(t, err)
	before := tr.Mappings()
	require.ErrorIs(t, c.Register(alignedArena(t, 8192)), nvme.ErrInvalid)
	require.ErrorIs(t, c.Register(alignedArena(t, 8192)[512:1024]), nvme.ErrInvalid)
	require.ErrorIs(t, c.Register(nil), nvme.ErrInvalid)
	require.Equal(t, before, tr.Mappings())
	require.NoError(t, c.Close())
}
