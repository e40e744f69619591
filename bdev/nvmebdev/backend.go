package nvmebdev

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/spec"
)

// Backend is an open namespace. It implements bdev.Backend.
type Backend struct {
	// Constant after Open.
	o        *owner
	ns       *nvme.Namespace
	opened   *nvme.NamespaceInfo // as found at Open
	policy   bdev.Policy
	readOnly bool
	shift    uint           // log2 of the block size
	depth    int            // of a queue
	protect  bool           // blocks carry protection information that the controller makes and checks
	fresh    bool           // Open made the medium
	durable  bool           // flushed data survives power loss
	note     string         // for Properties
	free     []func() error // what Close releases after the controller, in order

	closed  atomic.Bool
	resized atomic.Pointer[func(sizeBytes int64)]
}

var _ bdev.Backend = (*Backend)(nil)

// Open opens a namespace of the controller of a name of package connect. Devices on one controller share it.
//
// Errors: connect.ErrName, bdev.ErrNotExist for a controller or a namespace (also nvme.ErrNoNamespace) that is not there,
// bdev.ErrInUse, bdev.ErrUnsupported for a namespace whose blocks hold what the block layer cannot carry, and what the transport
// says, such as vfio.ErrBoundElsewhere.
func Open(name string, c Config) (*Backend, error) {
	o, err := acquire(name, c)
	if err != nil {
		return nil, translateOpen(err)
	}
	return open(o, c)
}

// New opens a namespace of the controller behind a transport, which it takes over. It is not shared. That is for tests, and
// for transports without a name.
func New(t nvme.Transport, c Config) (*Backend, error) {
	o, err := newOwner(t, kindInline, c)
	if err != nil {
		return nil, translateOpen(err)
	}
	return open(o, c)
}

// open makes a backend of one reference to the owner, which it gives back when it fails.
func open(o *owner, c Config) (*Backend, error) {
	b := &Backend{o: o, policy: c.Policy, readOnly: c.ReadOnly, durable: true}
	err := b.choose(c.Namespace)
	if err == nil {
		err = o.add(b)
	}
	if err != nil {
		return nil, errors.Join(translateOpen(err), o.release())
	}
	return b, nil
}

// choose finds the namespace and looks whether the block layer can carry it.
func (b *Backend) choose(id uint32) error {
	ctrl := b.o.ctrl
	if id == 0 {
		all := ctrl.Namespaces()
		if len(all) > 1 {
			return fmt.Errorf("%s has %d namespaces, say which (/1 or ?ns=1): %w", ctrl.Name(), len(all), bdev.ErrInvalid)
		}
		if id = 1; len(all) == 1 {
			id = all[0].ID()
		}
	}
	ns, err := ctrl.Namespace(id)
	if err != nil {
		return err
	}
	info := ns.Info()
	if info == nil {
		return fmt.Errorf("%s, namespace %d: it has just left: %w", ctrl.Name(), id, nvme.ErrNoNamespace)
	}
	if err := judge(info); err != nil {
		return fmt.Errorf("%s, namespace %d: %w", ctrl.Name(), id, err)
	}
	who := ctrl.Identify()
	b.ns, b.opened, b.depth = ns, info, ctrl.QueueDepth()
	b.shift = uint(bits.TrailingZeros(uint(info.BlockSize)))
	b.protect = info.Protection != 0
	b.note = fmt.Sprintf("%s, serial %s, firmware %s, namespace %d", who.Model(), who.Serial(), who.Firmware(), id)
	return nil
}

// judge refuses namespaces that the block layer cannot carry.
func judge(n *nvme.NamespaceInfo) error {
	switch {
	case n.ZoneBlocks != 0:
		return fmt.Errorf("it is zoned, which a store cannot write to: %w", bdev.ErrUnsupported)
	case n.MetaSize != 0 && (n.Protection == 0 || n.MetaSize != spec.PISize):
		return fmt.Errorf("its blocks have %d bytes of metadata; only protection information alone (8 bytes) is possible. "+
			"blobcli nvme format makes it anew without: %w", n.MetaSize, bdev.ErrUnsupported)
	}
	return nil
}

// Fresh reports whether Open made the medium.
func (b *Backend) Fresh() bool { return b.fresh }

// Properties declares what was found at Open.
func (b *Backend) Properties() bdev.Properties {
	n := b.opened
	p := bdev.Properties{
		BlockSize:       n.BlockSize,
		BlockCount:      int64(n.Blocks),
		BufferAlign:     bufferAlign,
		MaxTransfer:     n.MaxTransfer,
		OptimalBoundary: int(n.Boundary) << b.shift,
		AtomicWriteUnit: b.atomicUnit(),
		WriteCache:      n.WriteCache,
		Durable:         b.durable,
		ReadOnly:        b.readOnly || n.ReadOnly,
		Native:          nativeOps(n),
		Sync:            bdev.Ops(bdev.OpReset),
		Unmapped:        unmapped(n),
		FUA:             true,
		QueueDepth:      b.depth,
		MaxQueues:       b.o.ctrl.MaxQueues(),
		Reaches:         b.o.memory.reaches,
		Health:          b.Health,
		Note:            b.note,
	}
	if p.Native.Has(bdev.OpCompareAndWrite) {
		p.MaxCompareWrite = int(min(n.AtomicCompare<<b.shift, uint64(n.MaxTransfer), maxCompareWrite))
	}
	return p
}

// maxCompareWrite bounds Properties.MaxCompareWrite, in bytes.
const maxCompareWrite = 64 << 10

// atomicUnit is what a power cut does not tear, in bytes, a power of two: what the controller writes atomically across a
// power failure (AWUPF, NAWUPF; one block where that depends on boundaries, NABSPF), as far as it is one command.
func (b *Backend) atomicUnit() int {
	n := b.opened
	unit := min(n.AtomicPower<<b.shift, uint64(n.MaxTransfer))
	if n.Boundary != 0 { // an aligned unit lies between two boundaries if it divides the distance
		unit = min(unit, (n.Boundary<<b.shift)&-(n.Boundary<<b.shift))
	}
	return 1 << (bits.Len64(unit) - 1)
}

// nativeOps are the operations that the controller carries out.
func nativeOps(n *nvme.NamespaceInfo) bdev.OpSet {
	ops := bdev.Ops(bdev.OpRead, bdev.OpWrite, bdev.OpFlush, bdev.OpReset)
	for op, need := range map[bdev.Op]nvme.Op{
		bdev.OpUnmap: nvme.OpDeallocate, bdev.OpWriteZeroes: nvme.OpWriteZeroes, bdev.OpCompare: nvme.OpCompare,
		bdev.OpCompareAndWrite: nvme.OpCompareAndWrite,
	} {
		if n.Ops.Has(need) {
			ops |= bdev.Ops(op)
		}
	}
	return ops
}

// unmapped is what DLFEAT says (NVM 1.0, section 3.2.3.2).
func unmapped(n *nvme.NamespaceInfo) bdev.Unmapped {
	if n.ZeroesOnUnmap {
		return bdev.UnmappedZeros
	}
	return bdev.UnmappedAnything
}

// OnResize has f called with the size in bytes when it changes, on the goroutine that polls the controller: it must not
// block. It is called once at once, for what happened since Open.
func (b *Backend) OnResize(f func(sizeBytes int64)) {
	b.resized.Store(&f)
	b.changed()
}

// changed takes notice of what the controller says of the namespace now. Another block size is found by whoever submits.
func (b *Backend) changed() {
	info, f := b.ns.Info(), b.resized.Load()
	if f != nil && info != nil && b.usable() == nil {
		(*f)(int64(info.Blocks) << b.shift)
	}
}

// usable says why requests cannot be sent: the namespace is another one, or its blocks are others than at Open. The controller
// changes that at any time, so the driver's own check comes after this one.
func (b *Backend) usable() error {
	info := b.ns.Info()
	switch {
	case info == b.opened:
		return nil
	case info == nil:
		return nil // the driver refuses the request
	case info.BlockSize != b.opened.BlockSize || info.MetaSize != b.opened.MetaSize || info.Protection != b.opened.Protection:
		return fmt.Errorf("namespace %d was formatted with other blocks (%d bytes, now %d) since the device was opened; open it again: %w",
			b.ns.ID(), b.opened.BlockSize, info.BlockSize, bdev.ErrGone)
	case another(b.opened, info):
		return fmt.Errorf("namespace %d was deleted and another one made under its number since the device was opened; open it again: %w",
			b.ns.ID(), bdev.ErrGone)
	}
	return nil
}

// another tells whether two descriptions are of different namespaces: a name that is never used again (NGUID, UUID, EUI-64)
// differs. One that a description lacks says nothing.
func another(a, b *nvme.NamespaceInfo) bool {
	return differ(a.IDs.NGUID, b.IDs.NGUID) || differ(a.IDs.UUID, b.IDs.UUID) || differ(a.IDs.EUI64, b.IDs.EUI64) ||
		differ(a.Identify.NGUID, b.Identify.NGUID) || differ(a.Identify.EUI64, b.Identify.EUI64)
}

func differ[T comparable](a, b T) bool {
	var none T
	return a != b && a != none && b != none
}

// Execute resets the controller, for all devices on it; see bdev.Backend. Requests of other devices that may be repeated are.
func (b *Backend) Execute(r *bdev.Request) error {
	if r.Op != bdev.OpReset {
		return bdev.ErrUnsupported
	}
	return translate(b.o.ctrl.Reset())
}

// Resize takes notice of a size that the namespace has got from elsewhere.
func (b *Backend) Resize(size int64) error {
	if err := b.o.ctrl.Rescan(); err != nil {
		return translate(err)
	}
	info := b.ns.Info()
	if info == nil {
		return translate(nvme.ErrNoNamespace)
	}
	if now := int64(info.Blocks) << b.shift; size != now {
		return fmt.Errorf("%w: the namespace has %d bytes", bdev.ErrUnsupported, now)
	}
	return nil
}

// Close gives the controller back; the last device on it shuts it down.
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return bdev.ErrClosed
	}
	b.o.remove(b)
	err := b.o.release()
	for _, f := range b.free {
		err = errors.Join(err, f())
	}
	return err
}
