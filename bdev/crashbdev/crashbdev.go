package crashbdev

import (
	"fmt"
	"slices"
	"sync"

	"github.com/blobkv/blobkv/bdev"
)

// ErrPoweredOff is the result of every request that was outstanding when the power died or came later. It wraps
// bdev.ErrIO.
var ErrPoweredOff = fmt.Errorf("crashbdev: powered off: %w", bdev.ErrIO)

// ErrFlushFailed is the result of the flush that FailFlush has chosen. It wraps bdev.ErrIO.
var ErrFlushFailed = fmt.Errorf("crashbdev: flush failed: %w", bdev.ErrIO)

// Disk is a simulated device. It implements bdev.Backend; Open puts a bdev.Device on it. All methods may be called
// from any goroutine.
type Disk struct {
	mu       sync.Mutex
	options  Options
	durable  *Image // what survives
	current  *Image // what reads return
	cache    cache  // what lies between the two
	counters Counters
	cutAt    int64 // Counters.Ops at which the power dies; 0 for never
	off      bool
	failAt   int64   // Counters.Flushes at which a flush fails; 0 for never
	fate     *cutter // of what the failing flush covers
}

var _ bdev.Backend = (*Disk)(nil)

// Counters count what a disk was asked to do.
type Counters struct {
	Reads        int64
	Writes       int64 // FUA writes too
	FUAWrites    int64
	Flushes      int64
	Unmaps       int64
	WriteZeroes  int64
	BytesRead    int64
	BytesWritten int64 // by Writes
	// Overlaps counts writes submitted while another one to the same range was in flight. What such a pair leaves
	// behind is undefined on real devices.
	Overlaps int64
}

// Ops is the number of operations that CutAfter counts: all but reads.
func (c Counters) Ops() int64 { return c.Writes + c.Flushes + c.Unmaps + c.WriteZeroes }

// New returns a disk of zeros. It panics on options that make no sense, since only tests choose them.
func New(o Options) *Disk {
	o = o.withDefaults()
	mustBeValid(o)
	return fromImage(NewImage(o.Size), o)
}

// FromImage returns a disk that holds a copy of the image. Options.Size, if not zero, overrides the size of the image.
func FromImage(m *Image, o Options) *Disk {
	if o.Size == 0 {
		o.Size = m.size
	}
	o = o.withDefaults()
	mustBeValid(o)
	m = m.Clone()
	m.resize(o.Size)
	return fromImage(m, o)
}

func mustBeValid(o Options) {
	if err := o.validate(); err != nil {
		panic(err)
	}
}

// fromImage takes the image over. The options are complete.
func fromImage(m *Image, o Options) *Disk {
	return &Disk{
		options: o,
		current: m.Clone(),
		durable: m,
		cache:   cache{grain: grain{block: int64(o.BlockSize), unit: int64(o.AtomicWriteUnit)}},
	}
}

// Open returns a device on the disk. Closing the device is no power cut and no flush: the disk may be opened again and
// still has its unflushed writes.
func (d *Disk) Open(name string) (*bdev.Device, error) {
	return bdev.New(name, d, bdev.Options{})
}

// CutAfter lets the power die at the nth operation from now that is not a read, or at once if n is not positive.
// That operation may have reached the media in part; it, all others in flight and all later ones fail with
// ErrPoweredOff. What the media hold then is what Cut draws.
func (d *Disk) CutAfter(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n <= 0 {
		d.off = true
		return
	}
	d.cutAt = d.counters.Ops() + n
}

// FailFlush lets the nth flush from now fail with ErrFlushFailed. The writes it should have made durable meet the
// fate that Cut would draw for them, visibly to reads, and are forgotten: a later flush that succeeds does not bring
// them back. So do kernels that mark pages clean after a failed write-back.
func (d *Disk) FailFlush(n int64, mode Mode, seed uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failAt = d.counters.Flushes + max(n, 1)
	d.fate = newCutter(mode, seed)
}

// PoweredOff reports whether the power has died.
func (d *Disk) PoweredOff() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.off
}

// Counters returns the counters.
func (d *Disk) Counters() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counters
}

// Unflushed is the number of writes, unmaps and write zeroes that a power cut may lose now.
func (d *Disk) Unflushed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.cache.entries)
}

// Snapshot returns what reads would return now.
func (d *Disk) Snapshot() *Image {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current.Clone()
}

// Properties implements bdev.Backend.
func (d *Disk) Properties() bdev.Properties {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.options.properties()
}

// NewQueue implements bdev.Backend.
func (d *Disk) NewQueue() (bdev.Queue, error) { return newQueue(d), nil }

// Execute implements bdev.Backend.
func (d *Disk) Execute(r *bdev.Request) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.finish(d.begin(r))
}

// Resize implements bdev.Backend. The new size is durable at once.
func (d *Disk) Resize(size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.options
	o.Size = size
	if err := o.validate(); err != nil {
		return err
	}
	if d.off {
		return ErrPoweredOff
	}
	d.cache.clip(size)
	d.options = o
	d.durable.resize(size)
	d.current.resize(size)
	return nil
}

// Close implements bdev.Backend. The disk stays usable.
func (d *Disk) Close() error { return nil }

// operation is a request that the disk has begun.
type operation struct {
	r     *bdev.Request
	entry *entry // of writes
	stamp uint64 // of flushes: what it covers
	fails bool   // of flushes: FailFlush has chosen it
	err   error
}

// begin starts a request: a write lies in the cache from here on, and a flush knows what it covers. The caller holds
// d.mu.
func (d *Disk) begin(r *bdev.Request) operation {
	op := operation{r: r, err: d.count(r)}
	if d.off {
		op.err = ErrPoweredOff
		return op
	}
	switch {
	case op.err != nil:
	case r.Op == bdev.OpFlush:
		op.stamp = d.cache.stamp
		op.fails = d.counters.Flushes == d.failAt
	case r.Op == bdev.OpWrite:
		op.entry = d.put(&entry{off: r.Offset, n: int64(len(r.Buf)), data: slices.Clone(r.Buf)})
	case r.Op == bdev.OpUnmap || r.Op == bdev.OpWriteZeroes:
		op.entry = d.put(&entry{off: r.Offset, n: r.Length})
	}
	if d.cutAt > 0 && d.counters.Ops() >= d.cutAt {
		d.off = true
	}
	return op
}

// count books a request and refuses unknown ones.
func (d *Disk) count(r *bdev.Request) error {
	if d.off {
		return nil
	}
	c := &d.counters
	switch r.Op {
	case bdev.OpRead:
		c.Reads++
		c.BytesRead += int64(len(r.Buf))
	case bdev.OpWrite:
		c.Writes++
		c.BytesWritten += int64(len(r.Buf))
		if r.FUA {
			c.FUAWrites++
		}
	case bdev.OpFlush:
		c.Flushes++
	case bdev.OpUnmap:
		c.Unmaps++
	case bdev.OpWriteZeroes:
		c.WriteZeroes++
	case bdev.OpAllocate:
	default:
		return bdev.ErrUnsupported
	}
	return nil
}

// put makes a write visible to reads.
func (d *Disk) put(e *entry) *entry {
	if d.cache.add(e) {
		d.counters.Overlaps++
	}
	d.cache.land(d.current, e, nil)
	return e
}

// finish carries a request out and returns its result. The caller holds d.mu.
func (d *Disk) finish(op operation) error {
	if d.off {
		return ErrPoweredOff
	}
	switch {
	case op.err != nil:
		return op.err
	case op.entry != nil:
		d.cache.complete(op.entry)
		if op.r.Op == bdev.OpWrite && op.r.FUA && !d.options.NoFUA {
			d.cache.commit(d.durable, func(e *entry) bool { return e == op.entry })
		}
	case op.fails:
		d.dropCovered(op.stamp)
		return ErrFlushFailed
	case op.r.Op == bdev.OpFlush:
		d.cache.flush(d.durable, op.stamp)
	case op.r.Op == bdev.OpRead:
		d.current.read(op.r.Buf, op.r.Offset)
	}
	return nil
}

// dropCovered settles the writes that a failed flush covers by their fate and forgets them.
func (d *Disk) dropCovered(stamp uint64) {
	covered := d.cache.extract(func(e *entry) bool { return e.covered(stamp) })
	for _, i := range d.fate.order(len(covered)) {
		d.fate.land(d.durable, d.cache.grain, covered[i])
	}
	d.cache.supersedeBy(covered)
	d.current = d.durable.Clone()
	for _, e := range d.cache.entries {
		d.cache.land(d.current, e, nil)
	}
}
