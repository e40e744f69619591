package nvmebdev

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/connect"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// until waits for what the controller's reactor brings about.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), what)
	}
}

func TestProperties(t *testing.T) {
	r := newRig(t, softctrl.Config{MDTS: 4, WriteCache: true, AtomicBlocks: 24, Serial: "S1",
		Namespaces: []softctrl.NamespaceConfig{{BlockSize: 512, Boundary: 96}}}, Config{})
	p := r.d.Properties()
	require.Equal(t, 512, p.BlockSize)
	require.EqualValues(t, rigSize/512, p.BlockCount)
	require.Equal(t, 64<<10, p.MaxTransfer, "MDTS")
	require.Equal(t, 96*512, p.OptimalBoundary, "NOIOB")
	require.Equal(t, 8<<10, p.AtomicWriteUnit, "24 blocks are 12 KiB, 8 of which are a power of two; boundaries are 48 KiB apart")
	require.True(t, p.WriteCache && p.Durable && p.FUA && !p.ReadOnly && !p.Sparse)
	require.Equal(t, bdev.UnmappedZeros, p.Unmapped)
	require.Equal(t, 12<<10, p.MaxCompareWrite)
	require.Contains(t, p.Note, "serial S1")
	require.True(t, p.Native.Has(bdev.OpUnmap) && p.Native.Has(bdev.OpWriteZeroes) && p.Native.Has(bdev.OpCompareAndWrite))
	h, err := r.d.Health()
	require.NoError(t, err)
	require.Empty(t, h.Warnings)
	require.Positive(t, *h.TemperatureC)
	require.Equal(t, 100, h.SparePercent)

	d := openSim(t, SimConfig{Size: 8 << 20}, bdev.Options{})
	sim := d.Properties()
	require.NoError(t, d.Close())
	require.False(t, sim.Durable)
	require.True(t, sim.WriteCache)
	require.Equal(t, 4096, sim.BlockSize)
}

// TestUnitsOfOneCommand: what is atomic, and what is compared and written, is no more than a command carries, nor than a bound.
func TestUnitsOfOneCommand(t *testing.T) {
	for _, c := range []struct {
		sc               softctrl.Config
		atomic, compared int
	}{
		{softctrl.Config{MDTS: 2, AtomicBlocks: 256}, 16 << 10, 16 << 10},
		{softctrl.Config{MDTS: 9, AtomicBlocks: 256}, 256 << 10, maxCompareWrite},
		{softctrl.Config{MangleIdentify: func(cns, csi uint8, _ uint32, page []byte) {
			const nsfeat, nabspf = 24, 44
			if cns == spec.CNSNamespace {
				page[nsfeat], page[nabspf] = page[nsfeat]|spec.NSFEATAtomics, 7
			}
		}, AtomicBlocks: 4}, 4096, 16 << 10},
	} {
		p := newRig(t, c.sc, Config{}).d.Properties()
		require.Equal(t, c.atomic, p.AtomicWriteUnit)
		require.Equal(t, c.compared, p.MaxCompareWrite)
	}
}

// TestAtomicUnitOfSmallBoundary is no larger than what no boundary cuts, whatever the controller promises.
func TestAtomicUnitOfSmallBoundary(t *testing.T) {
	r := newRig(t, softctrl.Config{AtomicBlocks: 256, Namespaces: []softctrl.NamespaceConfig{{BlockSize: 512, Boundary: 24}}}, Config{})
	require.Equal(t, 4096, r.d.Properties().AtomicWriteUnit)
}

// TestDeallocateSemantics follow DLFEAT.
func TestDeallocateSemantics(t *testing.T) {
	const dlfeat = 33 // of identify namespace
	for value, want := range map[byte]bdev.Unmapped{0: bdev.UnmappedAnything, 1: bdev.UnmappedZeros, 2: bdev.UnmappedAnything} {
		r := newRig(t, softctrl.Config{MangleIdentify: func(cns, csi uint8, _ uint32, page []byte) {
			if cns == spec.CNSNamespace {
				page[dlfeat] = value
			}
		}}, Config{})
		require.Equal(t, want, r.d.Properties().Unmapped)
	}
}

func TestRefusedNamespaces(t *testing.T) {
	for says, n := range map[string]softctrl.NamespaceConfig{
		"zoned":                {BlockSize: 4096, ZoneBlocks: 256},
		"64 bytes of metadata": {BlockSize: 4096, MetaSize: 64},
		"8 bytes of metadata":  {BlockSize: 4096, MetaSize: 8}, // which are not protection information
		"16 bytes of metadata": {BlockSize: 4096, MetaSize: 16, Protection: 1},
	} {
		ram, err := softctrl.NewRAM(rigSize, false)
		require.NoError(t, err)
		n.Storage = ram
		tr, err := softctrl.NewTransport(softctrl.Config{Namespaces: []softctrl.NamespaceConfig{n}}, softctrl.TransportOptions{})
		require.NoError(t, err)
		_, err = New(tr, Config{})
		require.ErrorIs(t, err, bdev.ErrUnsupported)
		require.ErrorContains(t, err, says)
		require.Zero(t, tr.Mappings())
		require.NoError(t, ram.Free())
	}
}

// TestOnlyNamespace is the one to open, whatever its number.
func TestOnlyNamespace(t *testing.T) {
	r := newRig(t, softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{ID: 7, BlockSize: 4096}}}, Config{})
	require.EqualValues(t, 7, r.b.ns.ID())
	require.Contains(t, r.d.Properties().Note, "namespace 7")
}

// TestNoNamespace: there is none, and number 1 is what is missing.
func TestNoNamespace(t *testing.T) {
	ram, err := softctrl.NewRAM(rigSize, false)
	require.NoError(t, err)
	tr, err := softctrl.NewTransport(softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{Storage: ram, Detached: true}}}, softctrl.TransportOptions{})
	require.NoError(t, err)
	_, err = New(tr, Config{})
	require.ErrorIs(t, err, nvme.ErrNoNamespace)
	require.Zero(t, tr.Mappings())
	require.NoError(t, ram.Free())
}

// TestOpenOfDeadController leaves nothing behind, the reactor of the controller least of all.
func TestOpenOfDeadController(t *testing.T) {
	tr, err := softctrl.NewTransport(softctrl.Config{ReadyTimeout: 1}, softctrl.TransportOptions{NoReset: true})
	require.NoError(t, err)
	tr.Controller().SetStuck(softctrl.StuckDisabled)
	_, err = New(tr, Config{})
	require.ErrorIs(t, err, nvme.ErrTimeout)
	require.Zero(t, tr.Mappings())
}

func TestChoiceOfNamespace(t *testing.T) {
	two := func() softctrl.Config {
		var all []softctrl.NamespaceConfig
		for range 2 {
			ram, err := softctrl.NewRAM(rigSize, false)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, ram.Free()) })
			all = append(all, softctrl.NamespaceConfig{BlockSize: 4096, Storage: ram})
		}
		return softctrl.Config{Namespaces: all}
	}
	open := func(c Config) (*Backend, error) {
		tr, err := softctrl.NewTransport(two(), softctrl.TransportOptions{})
		require.NoError(t, err)
		return New(tr, c)
	}
	_, err := open(Config{})
	require.ErrorIs(t, err, bdev.ErrInvalid)
	require.ErrorContains(t, err, "2 namespaces")
	_, err = open(Config{Namespace: 3})
	require.ErrorIs(t, err, nvme.ErrNoNamespace)
	require.ErrorIs(t, err, bdev.ErrNotExist)
	b, err := open(Config{Namespace: 2})
	require.NoError(t, err)
	require.EqualValues(t, 2, b.ns.ID())

	// A second device on the same controller, as Open would share it.
	share := func(c Config) (*Backend, error) {
		b.o.refs++
		return open2(b.o, c)
	}
	_, err = share(Config{Namespace: 2})
	require.ErrorIs(t, err, bdev.ErrInUse)
	_, err = share(Config{Namespace: 2, ReadOnly: true})
	require.ErrorIs(t, err, bdev.ErrInUse, "a reader beside a writer")
	other, err := share(Config{Namespace: 1, ReadOnly: true})
	require.NoError(t, err)
	third, err := share(Config{Namespace: 1, ReadOnly: true})
	require.NoError(t, err, "readers admit each other")
	_, err = share(Config{Namespace: 1})
	require.ErrorIs(t, err, bdev.ErrInUse, "a writer beside readers")
	require.NoError(t, b.Close())
	b, err = func() (*Backend, error) { other.o.refs++; return open2(other.o, Config{Namespace: 2}) }()
	require.NoError(t, err, "closed, so another writer may come")
	for _, x := range []*Backend{other, third, b} {
		require.NoError(t, x.o.ctrl.Rescan(), "the controller works until the last is closed")
		require.NoError(t, x.Close())
	}
	require.ErrorIs(t, b.o.ctrl.Rescan(), nvme.ErrGone)
	require.ErrorIs(t, b.Close(), bdev.ErrClosed)
}

func open2(o *owner, c Config) (*Backend, error) { return open(o, c) }

func TestResize(t *testing.T) {
	r := newRig(t, softctrl.Config{}, Config{})
	require.NoError(t, r.soft.Resize(1, rigSize/4096/2))
	until(t, "the device does not shrink", func() bool { return r.d.Size() == rigSize/2 })
	require.ErrorIs(t, r.d.Write(block(0), rigSize/2), bdev.ErrOutOfRange)
	require.NoError(t, r.d.Write(block(1), rigSize/2-4096))
	require.NoError(t, r.soft.Resize(1, rigSize/4096))
	until(t, "the device does not grow", func() bool { return r.d.Size() == rigSize })
	require.NoError(t, r.d.Write(block(2), rigSize-4096))
	require.ErrorIs(t, r.d.Resize(2*rigSize), bdev.ErrUnsupported)
	require.NoError(t, r.d.Resize(rigSize))
}

// TestResizedBeforeAnybodyListens: a change between Open and OnResize is told then, and is no trouble before.
func TestResizedBeforeAnybodyListens(t *testing.T) {
	ram, err := softctrl.NewRAM(rigSize, false)
	require.NoError(t, err)
	tr, err := softctrl.NewTransport(softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{Storage: ram, BlockSize: 4096}}}, softctrl.TransportOptions{})
	require.NoError(t, err)
	b, err := New(tr, Config{})
	require.NoError(t, err)
	require.NoError(t, tr.Controller().Resize(1, 100))
	until(t, "it is not seen", func() bool { return b.ns.Info().Blocks == 100 })
	b.changed()
	var told []int64
	b.OnResize(func(size int64) { told = append(told, size) })
	require.Equal(t, []int64{100 * 4096}, told)
	require.NoError(t, b.Close())
	require.NoError(t, ram.Free())
}

func TestDetachAndAttach(t *testing.T) {
	r := newRig(t, softctrl.Config{}, Config{})
	require.NoError(t, r.d.Write(block(7), 0))
	require.NoError(t, r.soft.Attach(1, false))
	until(t, "a detached namespace is written to", func() bool { return r.d.Write(block(8), 4096) != nil })
	err := r.d.Read(block(0), 0)
	require.ErrorIs(t, err, bdev.ErrGone)
	require.ErrorIs(t, err, nvme.ErrNoNamespace)
	require.ErrorIs(t, r.d.Resize(rigSize/2), bdev.ErrGone)
	require.NoError(t, r.soft.Resize(1, 1000))
	require.NoError(t, r.soft.Attach(1, true))
	until(t, "it comes back as it was", func() bool { return r.d.Size() == 1000*4096 })
	got := block(0)
	until(t, "it does not come back", func() bool { return r.d.Read(got, 0) == nil })
	require.Equal(t, block(7), got)
}

// TestFormattedUnderneath wants no request to reach blocks of another kind than the device was opened with.
func TestFormattedUnderneath(t *testing.T) {
	plain := softctrl.NamespaceConfig{BlockSize: 512}
	protected := softctrl.NamespaceConfig{BlockSize: 512, MetaSize: 8, Protection: 1}
	for name, c := range map[string]struct {
		was         softctrl.NamespaceConfig
		lbads, meta int
		protection  uint8
	}{
		"larger blocks":      {plain, 12, 0, 0},
		"metadata":           {plain, 9, 8, 0},
		"no metadata":        {protected, 9, 0, 0},
		"another protection": {protected, 9, 8, 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, softctrl.Config{Namespaces: []softctrl.NamespaceConfig{c.was}}, Config{})
			size := r.d.Size()
			require.NoError(t, r.d.Write(block(1), 4096))
			id := r.b.opened.Identify
			format := -1
			for i := range int(id.NLBAF) + 1 {
				if int(id.LBAF[i].LBADS) == c.lbads && int(id.LBAF[i].MS) == c.meta {
					format = i
				}
			}
			require.NotEqual(t, -1, format, "the software controller has no such format")
			require.NoError(t, r.b.o.ctrl.Format(1, nvme.FormatOptions{Format: format, Protection: c.protection}))
			err := r.d.Write(block(1), 4096)
			require.ErrorIs(t, err, bdev.ErrGone)
			require.ErrorContains(t, err, "open it again")
			r.b.changed()
			require.Equal(t, size, r.d.Size())
		})
	}
}

// TestReplacedUnderneath: another namespace under the same number is not written to.
func TestReplacedUnderneath(t *testing.T) {
	var name atomic.Uint32 // in the last byte of the NGUID; 0 leaves it as it is, noName erases it
	const noName = 99
	r := newRig(t, softctrl.Config{WriteCache: true, MangleIdentify: func(cns, _ uint8, _ uint32, page []byte) {
		const descriptor, nguid = 4, 104 // of the list of names, of identify namespace
		at := map[uint8]int{spec.CNSDescriptors: descriptor, spec.CNSNamespace: nguid}[cns]
		switch v := name.Load(); {
		case at == 0 || v == 0:
		case v == noName:
			clear(page[at : at+16])
		default:
			page[at+15] = byte(v)
		}
	}}, Config{})
	resize := func(blocks uint64) {
		require.NoError(t, r.soft.Resize(1, blocks))
		until(t, "it is not seen", func() bool { return r.b.ns.Info().Blocks == blocks })
	}
	name.Store(noName)
	resize(1000)
	until(t, "the device does not shrink", func() bool { return r.d.Size() == 1000*4096 })
	require.NoError(t, r.d.Write(block(1), 0), "a controller that says nothing says nothing else")
	name.Store(7)
	resize(500)
	require.ErrorIs(t, r.d.Write(block(1), 0), bdev.ErrGone)
	require.ErrorIs(t, r.d.Flush(), bdev.ErrGone)
	r.b.changed()
	require.EqualValues(t, 1000*4096, r.d.Size(), "nor is its size that of the other")
	name.Store(0)
	resize(900)
	until(t, "the device does not shrink", func() bool { return r.d.Size() == 900*4096 })
	require.NoError(t, r.d.Write(block(1), 0), "it is back")
}

// TestAnother: a name that both descriptions have tells namespaces apart, one that only one has does not.
func TestAnother(t *testing.T) {
	for name, set := range map[string]func(n *nvme.NamespaceInfo, v byte){
		"NGUID, listed":       func(n *nvme.NamespaceInfo, v byte) { n.IDs.NGUID[15] = v },
		"UUID":                func(n *nvme.NamespaceInfo, v byte) { n.IDs.UUID[0] = v },
		"EUI-64, listed":      func(n *nvme.NamespaceInfo, v byte) { n.IDs.EUI64[7] = v },
		"NGUID, of identify":  func(n *nvme.NamespaceInfo, v byte) { n.Identify.NGUID[0] = v },
		"EUI-64, of identify": func(n *nvme.NamespaceInfo, v byte) { n.Identify.EUI64[0] = v },
	} {
		var one, two nvme.NamespaceInfo
		set(&one, 1)
		require.False(t, another(&one, &two), name)
		require.False(t, another(&two, &one), name)
		set(&two, 2)
		require.True(t, another(&one, &two), name)
		set(&two, 1)
		require.False(t, another(&one, &two), name)
	}
}

// TestReadOnlyNamespace is one that the controller protects.
func TestReadOnlyNamespace(t *testing.T) {
	r := newRig(t, softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{BlockSize: 4096, ReadOnly: true}}}, Config{})
	require.True(t, r.d.Properties().ReadOnly)
	require.ErrorIs(t, r.d.Write(block(1), 0), bdev.ErrReadOnly)
	require.NoError(t, r.d.Read(block(1), 0))

	r = newRig(t, softctrl.Config{}, Config{ReadOnly: true})
	require.True(t, r.d.Properties().ReadOnly, "as it was asked for")
	require.ErrorIs(t, r.d.Write(block(1), 0), bdev.ErrReadOnly)
}

// TestBuffersAreReadInPlace wants pool buffers to be registered once, no copy of their content to be made, and nothing of
// them to be left once their memory has gone.
func TestBuffersAreReadInPlace(t *testing.T) {
	r := newRig(t, softctrl.Config{}, Config{})
	pool := dmabuf.NewPool(8 << 20)
	before := r.tr.Mappings()
	p := pool.Get(64 << 10)
	require.NoError(t, r.d.Write(p[4096:8192], 0))
	require.NoError(t, r.d.Write(p, 0))
	require.Equal(t, before+1, r.tr.Mappings(), "one buffer, one registration")
	require.Zero(t, dmabuf.Default.Stats().Used)
	pool.Put(p)
	require.NoError(t, pool.Close())
	require.Equal(t, before, r.tr.Mappings(), "its memory is gone, the controller still reaches it")

	heap := make([]byte, 8192)
	require.NoError(t, r.d.Read(heap[1:4097], 0))
	require.NoError(t, r.d.Read(heap, 0))
	require.False(t, r.b.o.ctrl.Registered(heap))
}

// TestRegistrationFails, as with too few locked pages: the buffer is bounced if others can be reached, and an error if not.
func TestRegistrationFails(t *testing.T) {
	ram, err := softctrl.NewRAM(rigSize, false)
	require.NoError(t, err)
	tr, err := softctrl.NewTransport(softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{Storage: ram}}}, softctrl.TransportOptions{})
	require.NoError(t, err)
	full := &fullTransport{Transport: tr}
	b, err := New(full, Config{})
	require.NoError(t, err)
	d, err := bdev.New("nvme:test", b, bdev.Options{})
	require.NoError(t, err)
	require.NoError(t, d.Write(make([]byte, 4096), 0)) // so that bounce memory is registered

	pool := dmabuf.NewPool(8 << 20)
	p := pool.Get(4096)
	copy(p, block(9))
	full.on.Store(true)
	require.NoError(t, d.Write(p, 0))
	require.False(t, b.o.ctrl.Registered(p), "it was bounced")
	got := block(0)
	require.NoError(t, d.Read(got, 0))
	require.Equal(t, block(9), got)
	dmabuf.Default.Trim()
	err = d.Read(got, 0)
	require.ErrorIs(t, err, nvme.ErrMemory, "no memory can be reached")
	full.on.Store(false)
	require.NoError(t, d.Read(got, 0))
	pool.Put(p)
	require.NoError(t, pool.Close())
	require.NoError(t, d.Close())
	require.NoError(t, ram.Free())
}

// TestMemoryIsNotLetGoOf: the failure is told when the device is closed, once. A controller that is gone has let go.
func TestMemoryIsNotLetGoOf(t *testing.T) {
	ram, err := softctrl.NewRAM(rigSize, false)
	require.NoError(t, err)
	tr, err := softctrl.NewTransport(softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{Storage: ram}}}, softctrl.TransportOptions{})
	require.NoError(t, err)
	keeps := &keepingTransport{Transport: tr}
	b, err := New(keeps, Config{})
	require.NoError(t, err)
	d, err := bdev.New("nvme:test", b, bdev.Options{})
	require.NoError(t, err)
	for _, says := range []error{nil, nvme.ErrGone, errKept, errKept} {
		pool := dmabuf.NewPool(8 << 20)
		p := pool.Get(4096)
		require.NoError(t, d.Write(p, 0))
		keeps.says = says
		pool.Put(p)
		require.NoError(t, pool.Close())
		keeps.says = nil
	}
	require.Equal(t, 3, keeps.kept)
	err = d.Close()
	require.ErrorIs(t, err, errKept)
	require.NotErrorIs(t, err, nvme.ErrGone)
	require.Equal(t, 1, strings.Count(err.Error(), errKept.Error()), "the first of them")
	require.NoError(t, ram.Free())

	r := newRig(t, softctrl.Config{}, fast()) // one that is gone reaches nothing
	pool := dmabuf.NewPool(8 << 20)
	p := pool.Get(4096)
	require.NoError(t, r.d.Write(p, 0))
	r.soft.Remove()
	pool.Put(p)
	require.NoError(t, pool.Close())
	require.NoError(t, r.d.Close())
}

var errKept = errors.New("memory is kept")

// keepingTransport unmaps no memory while it says something.
type keepingTransport struct {
	*softctrl.Transport
	says error
	kept int
}

func (k *keepingTransport) Unmap(b []byte) error {
	if k.says != nil {
		k.kept++
		return k.says
	}
	return k.Transport.Unmap(b)
}

// fullTransport maps no more memory while it is on.
type fullTransport struct {
	*softctrl.Transport
	on atomic.Bool
}

func (f *fullTransport) Map(b []byte) (uint64, error) {
	if f.on.Load() {
		return 0, nvme.ErrMemory
	}
	return f.Transport.Map(b)
}

// TestFusedCompareAndWrite sees the controller carry it out as one.
func TestFusedCompareAndWrite(t *testing.T) {
	r := newRig(t, softctrl.Config{AtomicBlocks: 2}, Config{})
	do := func(expect, write uint64, n int) error {
		q := bdev.GetRequest()
		defer bdev.PutRequest(q)
		q.Op, q.Expect, q.Buf = bdev.OpCompareAndWrite, make([]byte, n), make([]byte, n)
		binary.LittleEndian.PutUint64(q.Expect, expect)
		binary.LittleEndian.PutUint64(q.Buf, write)
		return r.d.Do(q)
	}
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.FailWith, Status: spec.StatusUnrecoveredRead | spec.StatusDNR, Times: -1})
	require.NoError(t, do(0, 1, 8192), "a read shows that it was emulated")
	require.ErrorIs(t, do(0, 2, 8192), bdev.ErrMiscompare)
	r.soft.ClearFaults()
	require.NoError(t, do(1, 3, 12288), "too long for the controller: emulated")
	got := make([]byte, 4096)
	require.NoError(t, r.d.Read(got, 0))
	require.EqualValues(t, 3, binary.LittleEndian.Uint64(got))
}

// TestHealthCounts what went over the wire, in bytes, and the resets of the controller.
func TestHealthCounts(t *testing.T) {
	r := newRig(t, softctrl.Config{}, Config{})
	p := make([]byte, 512_000)
	for range 3 {
		require.NoError(t, r.d.Write(p, 0))
	}
	require.NoError(t, r.d.Read(p, 0))
	require.NoError(t, r.b.o.ctrl.Reset())
	h, err := r.d.Health()
	require.NoError(t, err)
	require.EqualValues(t, 512_000, h.BytesRead)
	require.EqualValues(t, 3*512_000, h.BytesWritten)
	require.EqualValues(t, 1, h.ControllerResets)
}

func TestHealthWarnings(t *testing.T) {
	r := newRig(t, softctrl.Config{}, Config{})
	r.soft.Health(spec.WarnSpare | spec.WarnReadOnly)
	h, err := r.d.Health()
	require.NoError(t, err)
	require.Len(t, h.Warnings, 2)
}

func TestOpenErrors(t *testing.T) {
	_, err := Open("nowhere", Config{})
	require.ErrorIs(t, err, connect.ErrName)
	_, err = Open("vfio-user:"+filepath.Join(t.TempDir(), "nothing"), Config{})
	require.Error(t, err)
	_, err = Open("ffff:ff:1f.7", Config{})
	require.Error(t, err)
}

// TestCloseReleases what came with the device, and tells of its failure.
func TestCloseReleases(t *testing.T) {
	b, err := NewSim(SimConfig{Size: 1 << 20})
	require.NoError(t, err)
	require.True(t, b.Fresh())
	b.free = append(b.free, func() error { return errKept })
	require.ErrorIs(t, b.Close(), errKept)
}

// TestQueuesAskedFor is what the controller is asked for.
func TestQueuesAskedFor(t *testing.T) {
	require.Equal(t, DefaultQueues, newRig(t, softctrl.Config{}, Config{}).d.Properties().MaxQueues)
	require.Equal(t, 3, newRig(t, softctrl.Config{}, Config{Queues: 3}).d.Properties().MaxQueues)
}

// TestHurry: a controller that is being reset is looked after often, until that is over.
func TestHurry(t *testing.T) {
	o := newRig(t, softctrl.Config{}, Config{}).b.o
	for _, end := range []nvme.EventKind{nvme.EventReset, nvme.EventFailed} {
		require.False(t, o.watch.fast.Armed())
		o.event(nvme.Event{Kind: nvme.EventResetting})
		require.True(t, o.watch.fast.Armed())
		o.event(nvme.Event{Kind: end})
	}
	require.False(t, o.watch.fast.Armed())
}

// TestExecute: the core gives resets alone to the backend.
func TestExecute(t *testing.T) {
	r := newRig(t, softctrl.Config{}, Config{})
	require.ErrorIs(t, r.b.Execute(&bdev.Request{Op: bdev.OpRead}), bdev.ErrUnsupported)
	require.Zero(t, r.b.o.ctrl.Resets())
	require.NoError(t, r.b.Execute(&bdev.Request{Op: bdev.OpReset}))
	require.EqualValues(t, 1, r.b.o.ctrl.Resets())
}

// TestMoreThanFit: a queue takes as many requests as it has room for, in any number of batches, and completes as many at a time as
// it is asked to.
func TestMoreThanFit(t *testing.T) {
	for _, entries := range []int{4, 100} {
		r := newRig(t, softctrl.Config{Entries: entries}, Config{})
		q, err := r.b.NewQueue()
		require.NoError(t, err)
		depth := q.(*queue).q.Depth()
		var rs []*bdev.Request
		for i := range depth + 2 {
			buf := dmabuf.Default.Get(4096)
			copy(buf, block(byte(i)))
			rs = append(rs, &bdev.Request{Op: bdev.OpWrite, Offset: int64(i) * 4096, Buf: buf})
		}
		taken := q.Submit(rs)
		require.Equal(t, depth, taken)
		require.Zero(t, q.Submit(rs[taken:]), "full")
		for left := depth; left > 0; {
			limit := min(left, 3)
			require.Equal(t, limit, q.Poll(limit))
			left -= limit
		}
		require.Equal(t, 2, q.Submit(rs[taken:]))
		require.Equal(t, 2, q.Poll(100))
		require.NoError(t, q.Close())
		got := make([]byte, 4096)
		for i, w := range rs {
			require.NoError(t, w.Err())
			require.NoError(t, r.d.Read(got, w.Offset))
			require.Equal(t, block(byte(i)), got)
			dmabuf.Default.Put(w.Buf)
		}
	}
}
