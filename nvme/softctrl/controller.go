package softctrl

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Memory translates the host's addresses.
type Memory interface {
	// Translate returns n bytes of the host's memory from an address on, for reading, or for writing too; nil when they are not
	// mapped that way, or not in one piece. What it returned stays valid until the Controller method that asked returns.
	Translate(iova uint64, n int, write bool) []byte
	// Lasting tells whether all that it returned since the present method was called stays valid longer: until Drain or Close returns.
	Lasting() bool
}

// Controller is the controller.
type Controller struct {
	cfg       Config
	mem       Memory
	doorbells []byte

	removed atomic.Bool
	subs    []atomic.Pointer[subQueue]  // by identifier
	comps   []atomic.Pointer[compQueue] // by identifier
	spaces  atomic.Pointer[map[uint32]*space]
	shadow  atomic.Pointer[shadowBuffers]
	busy    atomic.Int32 // there are faults or deferred commands
	stats   counters
	flying  []*flights // of the namespaces with queued storage

	mu sync.Mutex
	state

	script faultScript
}

// state is guarded by Controller.mu.
type state struct {
	cc       spec.CC
	csts     spec.CSTS
	aqa      uint32
	asq, acq uint64
	all      map[uint32]*space // attached or not
	aers     []uint16          // command identifiers of waiting asynchronous event requests
	events   []spec.AsyncEvent // that no request took yet
	masked   [256]bool         // by log page: an event was sent and the page not read since
	changed  map[uint32]bool   // the log of changed namespaces
	features map[uint32]uint32
	errors   []spec.ErrorEntry // newest first
	nErrors  uint64
	secure   map[uint8][]byte // by security protocol: what was sent
	firmware []byte
	slots    spec.FirmwareSlots
	sanitize spec.SanitizeStatus
	stuck    Stuck
	resets   int
	shutdown int
}

// counters of what the controller did.
type counters struct {
	reads, writes, bytesRead, bytesWritten, flushes atomic.Uint64
}

// New makes a controller. It is disabled, as after power on.
func New(cfg Config, mem Memory) (*Controller, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Controller{cfg: cfg, mem: mem, doorbells: cfg.Doorbells}
	c.subs = make([]atomic.Pointer[subQueue], cfg.Queues+1)
	c.comps = make([]atomic.Pointer[compQueue], cfg.Queues+1)
	c.all, c.changed, c.features = map[uint32]*space{}, map[uint32]bool{}, map[uint32]uint32{}
	c.secure = map[uint8][]byte{}
	c.slots.AFI = 1
	copy(c.slots.FRS[0][:], cfg.Firmware+"        ")
	c.features[spec.FeatWriteCache] = 1
	for _, n := range cfg.Namespaces {
		if err := c.add(n); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	c.publish()
	return c, nil
}

// word is the 32-bit word at an offset of shared memory.
func word(b []byte, offset int) *uint32 {
	b = b[offset : offset+4] // checks the bounds without touching what is there
	return (*uint32)(unsafe.Pointer(&b[0]))
}

// doorbell is a doorbell register.
func (c *Controller) doorbell(index int) *uint32 {
	return word(c.doorbells, index*(4<<c.cfg.DoorbellStride))
}

// capabilities is the register CAP.
func (c *Controller) capabilities() spec.CAP {
	css := uint8(spec.CSSNVM)
	if c.cfg.Version.AtLeast(2, 0) {
		css |= spec.CSSIOCS
	}
	return spec.Capabilities{MQES: uint16(c.cfg.Entries - 1), CQR: true, TO: c.cfg.ReadyTimeout, DSTRD: c.cfg.DoorbellStride,
		CSS: css, MPSMAX: 4}.CAP()
}

// Load reads a register of 4 or 8 bytes. One that is not there reads as zero, all of a controller that was removed as
// ones.
func (c *Controller) Load(offset uint32, size int) uint64 {
	if c.removed.Load() {
		return ^uint64(0) >> (64 - 8*size)
	}
	c.late()
	if offset >= spec.RegDoorbells {
		return 0 // doorbells are write-only
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.register(offset &^ 7)
	if offset&4 != 0 {
		v >>= 32
	}
	if size == 4 {
		v &= 0xFFFFFFFF
	}
	return v
}

// register is 8 bytes of registers.
func (c *Controller) register(offset uint32) uint64 {
	switch offset {
	case spec.RegCAP:
		return uint64(c.capabilities())
	case spec.RegVS:
		return uint64(c.cfg.Version)
	case spec.RegCC &^ 7:
		return uint64(c.cc) << 32
	case spec.RegCSTS &^ 7:
		return uint64(c.csts) << 32
	case spec.RegAQA &^ 7:
		return uint64(c.aqa) << 32
	case spec.RegASQ:
		return c.asq
	case spec.RegACQ:
		return c.acq
	}
	return 0
}

// Store writes a register of 4 or 8 bytes. A doorbell carries out what it announces before Store returns.
func (c *Controller) Store(offset uint32, value uint64, size int) {
	if c.removed.Load() {
		return
	}
	if offset >= spec.RegDoorbells {
		c.ring(int(offset-spec.RegDoorbells), uint32(value))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch offset {
	case spec.RegCC:
		c.configure(spec.CC(value))
	case spec.RegAQA:
		c.aqa = uint32(value)
	case spec.RegASQ, spec.RegASQ + 4:
		put(&c.asq, offset-spec.RegASQ, value, size)
	case spec.RegACQ, spec.RegACQ + 4:
		put(&c.acq, offset-spec.RegACQ, value, size)
	case spec.RegNSSR:
		if uint32(value) == spec.NSSRMagic {
			c.disable()
		}
	}
}

// put stores part of a register of 8 bytes.
func put(r *uint64, at uint32, value uint64, size int) {
	switch {
	case size == 8:
		*r = value
	case at == 0:
		*r = *r&^0xFFFFFFFF | value&0xFFFFFFFF
	default:
		*r = *r&0xFFFFFFFF | value<<32
	}
}

// configure acts on a new value of CC.
func (c *Controller) configure(cc spec.CC) {
	old := c.cc
	c.cc = cc
	if cc.SHN() != spec.SHNNone && old.SHN() == spec.SHNNone {
		c.shutdown++
		c.Drain()
		for _, s := range c.all {
			_ = s.cfg.Storage.Flush() // a device that shuts down has nobody to tell
		}
		c.csts = c.csts.WithSHST(spec.SHSTComplete)
	}
	switch {
	case cc.EN() && !old.EN():
		c.enable()
	case !cc.EN() && old.EN():
		c.disable()
	}
}

// enable starts the controller with the admin queue.
func (c *Controller) enable() {
	c.csts = 0
	if c.stuck == StuckDisabled {
		return
	}
	sq, cq := spec.AQASizes(c.aqa)
	if c.cc.MPS() != 0 || c.cc.IOSQES() != 6 || c.cc.IOCQES() != 4 || c.asq&4095 != 0 || c.acq&4095 != 0 || sq < 2 || cq < 2 {
		c.csts = spec.CSTSFatal
		return
	}
	done := &compQueue{id: 0, size: uint32(cq), iova: c.acq, phase: true, interrupts: true}
	c.comps[0].Store(done)
	c.subs[0].Store(&subQueue{id: 0, size: uint32(sq), iova: c.asq, cq: done})
	c.csts = spec.CSTSReady
}

// disable forgets all queues, after the commands that are being served.
func (c *Controller) disable() {
	c.resets++
	c.Drain()
	for i := range c.subs {
		if sq := c.subs[i].Swap(nil); sq != nil && i > 0 {
			sq.mu.Lock()
			sq.deleted = true
			sq.mu.Unlock()
		}
	}
	for i := range c.comps {
		c.comps[i].Store(nil)
	}
	c.shadow.Store(nil)
	c.script.forget()
	for i := range len(c.doorbells) / 4 {
		atomic.StoreUint32(word(c.doorbells, 4*i), 0)
	}
	c.aers, c.events, c.masked = nil, nil, [256]bool{}
	c.cc &^= spec.CCEnable
	if c.stuck != StuckEnabled {
		c.csts = 0
	}
}

// Process carries out whatever doorbells in memory announce and slow commands whose time has come, and completes what a storage has done.
// It returns how many commands that were, no more of each queue than it has entries, whatever the host does meanwhile; a server calls it
// in a loop.
func (c *Controller) Process() int {
	if c.removed.Load() {
		return 0
	}
	c.late()
	n := c.serveAdmin()
	for i := 1; i < len(c.subs); i++ {
		if sq := c.subs[i].Load(); sq != nil {
			n += c.serve(sq)
		}
	}
	for _, f := range c.flying {
		n += f.poll(false)
	}
	return n
}

// Enabled is false while doorbells mean nothing, so that nobody needs to call Process.
func (c *Controller) Enabled() bool { return !c.removed.Load() && c.subs[0].Load() != nil }

// Reset forgets all queues and commands, as a reset of the PCI function does, and ends being stuck. Nobody is in Process.
func (c *Controller) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck = NotStuck
	c.disable()
	c.csts, c.cc, c.aqa, c.asq, c.acq = 0, 0, 0, 0, 0
}

// Resets and Shutdowns count what the host did to the controller.
func (c *Controller) Resets() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resets
}

// Shutdowns is how often the host announced a shutdown.
func (c *Controller) Shutdowns() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shutdown
}

// Remove makes the controller leave: registers read as ones, nothing is answered any more.
func (c *Controller) Remove() { c.removed.Store(true) }

// PowerFail cuts the power: the controller leaves, and every RAM that has a volatile cache loses some of it.
func (c *Controller) PowerFail(rng *rand.Rand) {
	c.Remove()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := uint32(0); id <= c.highest(); id++ {
		if s := c.all[id]; s != nil {
			if ram, ok := s.cfg.Storage.(*RAM); ok {
				ram.PowerFail(rng)
			}
		}
	}
}

// SetFatal sets CSTS.CFS.
func (c *Controller) SetFatal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.csts |= spec.CSTSFatal
}

// String names the controller.
func (c *Controller) String() string { return fmt.Sprintf("%s %s", c.cfg.Model, c.cfg.Serial) }
