package softctrl

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/blobkv/blobkv/nvme/spec"
)

// space is a namespace. What it is does not change but by replacing it, see Controller.publish.
type space struct {
	id       uint32
	cfg      NamespaceConfig
	blocks   uint64
	shift    uint // log2 of the block size
	unit     int  // bytes of a block as it is transferred
	attached bool

	*shared
}

// shared is what the versions of a namespace have in common.
type shared struct {
	flights *flights   // nil: commands are carried out one by one
	meta    []byte     // metadata of all blocks
	pair    sync.Mutex // one fused pair or copy at a time
	zoning  sync.Mutex // one command that changes zones at a time
	zones   []zone     // guarded by zoning
}

// add makes a namespace.
func (c *Controller) add(n NamespaceConfig) error {
	if n.ID == 0 {
		n.ID = c.highest() + 1
	}
	orElse(&n.BlockSize, 512)
	s := &space{id: n.ID, cfg: n, attached: !n.Detached, shared: &shared{}}
	if bits.OnesCount(uint(n.BlockSize)) != 1 || n.BlockSize < 512 || n.BlockSize > 64<<10 || c.all[n.ID] != nil {
		return fmt.Errorf("namespace %d, blocks of %d bytes: bad configuration", n.ID, n.BlockSize)
	}
	if n.Protection > 3 || n.Protection != 0 && n.MetaSize < spec.PISize {
		return fmt.Errorf("namespace %d, protection type %d in %d bytes: bad configuration", n.ID, n.Protection, n.MetaSize)
	}
	var err error
	if s.flights, err = c.openFlights(n); err != nil {
		return fmt.Errorf("namespace %d: %w", n.ID, err)
	}
	s.format(n.Storage.Size())
	c.all[n.ID] = s
	return nil
}

// format works out the layout from the configuration and the size of the storage in bytes.
func (s *space) format(size int64) {
	s.shift = uint(bits.TrailingZeros(uint(s.cfg.BlockSize)))
	s.blocks = uint64(size) >> s.shift
	s.unit = s.cfg.BlockSize
	if s.cfg.Extended {
		s.unit += s.cfg.MetaSize
	}
	s.meta = make([]byte, s.blocks*uint64(s.cfg.MetaSize))
	s.clearMeta(0, s.blocks)
	if z := s.cfg.ZoneBlocks; z > 0 {
		s.blocks -= s.blocks % z
		s.zones = make([]zone, s.blocks/z)
		for i := range s.zones {
			s.zones[i] = zone{state: spec.ZoneEmpty, pointer: uint64(i) * z}
		}
	}
}

// highest is the largest identifier there is.
func (c *Controller) highest() (id uint32) {
	for n := range c.all {
		id = max(id, n)
	}
	return id
}

// publish makes the attached namespaces those that commands reach. It is called with mu held, or before the controller is
// used.
func (c *Controller) publish() {
	m := map[uint32]*space{}
	for id, s := range c.all {
		if s.attached {
			m[id] = s
		}
	}
	c.spaces.Store(&m)
}

// replace changes a namespace and tells the host. It is called with mu held.
func (c *Controller) replace(s *space, change func(*space)) {
	n := *s
	change(&n)
	c.all[s.id] = &n
	c.publish()
	c.announceNamespace(s.id)
}

func (c *Controller) announceNamespace(id uint32) {
	c.changed[id] = true
	c.announce(spec.MakeAsyncEvent(spec.EventNotice, spec.NoticeNamespace, spec.LogChangedNS))
}

// AddNamespace adds a namespace at run time.
func (c *Controller) AddNamespace(n NamespaceConfig) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.ID == 0 {
		n.ID = c.highest() + 1
	}
	if err := c.add(n); err != nil {
		return 0, err
	}
	c.publish()
	c.announceNamespace(n.ID)
	return n.ID, nil
}

// Attach attaches a namespace or detaches it, as another host's doing.
func (c *Controller) Attach(nsid uint32, attached bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.all[nsid]
	if s == nil {
		return fmt.Errorf("namespace %d: not there", nsid)
	}
	c.replace(s, func(n *space) { n.attached = attached })
	return nil
}

// Resize changes how many blocks a namespace has, up to what its storage holds.
func (c *Controller) Resize(nsid uint32, blocks uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.all[nsid]
	if s == nil || blocks > uint64(s.cfg.Storage.Size())>>s.shift {
		return fmt.Errorf("namespace %d with %d blocks: not there, or too large", nsid, blocks)
	}
	c.replace(s, func(n *space) { n.blocks = blocks })
	return nil
}

// SetReadOnly write protects a namespace.
func (c *Controller) SetReadOnly(nsid uint32, on bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.all[nsid]
	if s == nil {
		return fmt.Errorf("namespace %d: not there", nsid)
	}
	c.replace(s, func(n *space) { n.cfg.ReadOnly = on })
	return nil
}

// Health changes what the SMART log warns of and tells the host.
func (c *Controller) Health(warning uint8) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.features[healthWarning] = uint32(warning)
	c.announce(spec.MakeAsyncEvent(spec.EventHealth, 0, spec.LogSMART))
}

// Event tells the host of something that happened, once until it reads the log page that the event names.
func (c *Controller) Event(e spec.AsyncEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.announce(e)
}

// healthWarning is where features keeps the warning of Health; no feature has that identifier.
const healthWarning = 0x100

// Metadata is the memory of a namespace's metadata, for tests that damage it.
func (c *Controller) Metadata(nsid uint32) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.all[nsid]; s != nil {
		return s.meta
	}
	return nil
}

// identify describes the namespace.
func (s *space) identify(c *Config) spec.IdentifyNamespace {
	id := spec.IdentifyNamespace{NSZE: s.blocks, NCAP: s.blocks, NUSE: s.blocks, NLBAF: uint8(len(formats) - 1)}
	for i, f := range formats {
		id.LBAF[i] = f
		if f.LBADS == uint8(s.shift) && int(f.MS) == s.cfg.MetaSize {
			id.FLBAS = uint8(i)
		}
	}
	if 1<<id.LBAF[id.FLBAS].LBADS != s.cfg.BlockSize || int(id.LBAF[id.FLBAS].MS) != s.cfg.MetaSize { // a format of its own
		id.NLBAF++
		id.FLBAS = id.NLBAF
		id.LBAF[id.NLBAF] = spec.LBAFormat{MS: uint16(s.cfg.MetaSize), LBADS: uint8(s.shift)}
	}
	if s.cfg.Extended {
		id.FLBAS |= 1 << 4
	}
	id.MC, id.DPC = spec.MCExtended|spec.MCSeparate, spec.DPCType1|spec.DPCType2|spec.DPCType3|spec.DPCFirst|spec.DPCLast
	id.DPS = s.cfg.Protection
	if s.cfg.First && s.cfg.Protection != 0 {
		id.DPS |= spec.DPSFirst
	}
	id.DLFEAT = spec.DLFEATReadZeroes | spec.DLFEATWriteZeroes
	id.NOIOB = s.cfg.Boundary
	id.MSSRL, id.MCL, id.MSRC = maxCopyRange, maxCopy, maxCopyRanges-1
	if s.cfg.ReadOnly {
		id.NSATTR = spec.NSATTRWriteProtected
	}
	id.NGUID = [16]byte{0: 0xB1, 1: 0x0B, 15: byte(s.id)}
	return id
}

// formats are the LBA formats that format NVM offers.
var formats = []spec.LBAFormat{{LBADS: 9}, {LBADS: 9, MS: 8}, {LBADS: 12}, {LBADS: 12, MS: 8}, {LBADS: 12, MS: 16}, {LBADS: 12, MS: 64}}

// Limits of copy, in blocks and ranges.
const (
	maxCopyRange  = 128
	maxCopy       = 256
	maxCopyRanges = 8
)
