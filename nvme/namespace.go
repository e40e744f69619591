package nvme

import (
	"sync/atomic"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Namespace is a handle of one namespace. It stays the same as long as the Controller lives, whatever happens to the
// namespace. Any goroutine may call any method.
type Namespace struct {
	id   uint32
	info atomic.Pointer[NamespaceInfo] // nil while it is not there
}

// NamespaceInfo is what is known of a namespace: checked facts, in bytes or logical blocks as said. It does not change; a
// changed namespace has a new one.
type NamespaceInfo struct {
	ID             uint32
	CSI            uint8  // spec.CSI*
	Blocks         uint64 // size in logical blocks
	BlockSize      int    // data bytes of a logical block
	MetaSize       int    // metadata bytes of a logical block
	Extended       bool   // metadata follows the data of each block in Buf; else it is in Meta
	Protection     uint8  // type of end-to-end protection, 0 to 3
	ProtectFirst   bool   // protection information is at the start of the metadata, else at its end
	MaxTransfer    int    // data bytes of one command, before the driver splits
	Boundary       uint64 // optimal I/O boundary in blocks; 0 is none
	AtomicWrite    uint64 // blocks written atomically in normal operation
	AtomicPower    uint64 // blocks written atomically across a power failure
	AtomicCompare  uint64 // blocks of OpCompareAndWrite; 0 where there is no such thing
	WriteCache     bool   // a volatile write cache: durable after OpFlush
	ReadOnly       bool
	ZeroesOnUnmap  bool   // deallocated blocks read as zeros
	UnmapGranule   uint64 // blocks, preferred for OpDeallocate; 1 is any
	WriteGranule   uint64 // blocks, preferred for writes
	MaxCopy        uint64 // blocks of one OpCopy
	MaxCopyRanges  int
	MaxCopyRange   uint64 // blocks of one range of OpCopy
	Ops            OpSet
	ZoneBlocks     uint64 // of a zoned namespace: blocks from one zone's start to the next
	MaxAppend      uint64 // blocks of one OpZoneAppend
	MaxOpenZones   uint32 // 0 is no limit
	MaxActiveZones uint32
	Format         int // index of the LBA format
	Identify       spec.IdentifyNamespace
	IDs            spec.Descriptors

	unit       uint32 // bytes of Buf for a block
	unitShift  uint8  // log2 of it; 0 when it is no power of two
	perCmd     [numOps]uint64
	trimRanges uint64 // ranges of one command
}

// OpSet is a set of operations.
type OpSet uint32

// Has tells whether the set holds an operation.
func (s OpSet) Has(o Op) bool { return s>>o&1 != 0 }

// ID is the namespace identifier.
func (n *Namespace) ID() uint32 { return n.id }

// Info is what is known of the namespace, nil while it is not there. The caller does not change it.
func (n *Namespace) Info() *NamespaceInfo { return n.info.Load() }
