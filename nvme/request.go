package nvme

import "github.com/blobkv/blobkv/nvme/spec"

// Op is what a Request does.
type Op uint8

// The operations. The first group transfers Buf (and Meta), which gives the number of blocks; the second names a range by
// LBA and Blocks; the rest are as each says.
const (
	OpRead Op = iota
	OpWrite
	OpCompare         // fails with ErrMiscompare
	OpCompareAndWrite // fused: compares with Buf, then writes Data; both of one length, at most the atomic compare and write unit
	OpZoneAppend      // LBA is the zone's start; Result is where the data went

	OpWriteZeroes // FlagDeallocate lets the controller deallocate
	OpDeallocate  // the range, or all of Ranges when that is not nil
	OpVerify      // reads and checks, transfers nothing
	OpWriteUncorrectable

	OpFlush       // every write that was completed before survives power loss
	OpCopy        // copies Ranges to LBA
	OpZoneSend    // Arg is a spec.Zone* action, with spec.ZoneSelectAll if wanted; LBA is the zone's start
	OpZoneReceive // Arg is a spec.ZoneReport action; the report lands in Buf
	OpRaw         // Raw as it is; the driver fills in the command identifier and, when Buf is given, the data pointer

	numOps
)

var opNames = [numOps]string{"read", "write", "compare", "compare and write", "zone append", "write zeroes", "deallocate",
	"verify", "write uncorrectable", "flush", "copy", "zone management send", "zone management receive", "raw command"}

// String is the operation in words.
func (o Op) String() string {
	if o < numOps {
		return opNames[o]
	}
	return "unknown operation"
}

// Flags modify a Request.
type Flags uint8

// The flags.
const (
	FlagFUA        Flags = 1 << iota // a write is durable at completion; a read comes from the media
	FlagDeallocate                   // of OpWriteZeroes
	FlagLimited                      // limited effort: no long error recovery in the controller
	FlagNoRetry                      // the driver does not send it again
)

// Range is a range of logical blocks.
type Range struct {
	LBA    uint64
	Blocks uint32
}

// Request is one operation on a namespace. The caller owns it, fills it in, submits it to a Queue, and gets it back from
// Queue.Poll; in between it belongs to the driver with everything it refers to. A request may be used again. Whatever its
// size, the driver splits it as the controller needs (but not OpCompareAndWrite, OpZoneAppend, OpCopy and OpRaw).
type Request struct {
	Op     Op
	Flags  Flags
	NS     *Namespace
	LBA    uint64
	Blocks uint64 // of the operations without data
	Buf    []byte // registered memory, dword aligned; with the metadata of every block behind its data in an extended format
	Data   []byte // of OpCompareAndWrite
	Meta   []byte // registered memory for metadata in a separate buffer, dword aligned; nil where the namespace has none
	PI     Protect
	Ranges []Range // of OpDeallocate and OpCopy
	Arg    uint32
	Raw    spec.Command
	Tag    any // the caller's

	Err    error  // nil, *StatusError or a wrapped sentinel
	Result uint64 // dwords 0 and 1 of the completion

	state requestState
}

// Protect says how end-to-end protection information of a request is treated (NVM 1.0, section 5.2).
type Protect struct {
	Flags   uint32 // spec.PRACT and spec.PRCHK*
	RefTag  uint32 // of the first block; the driver advances it when it splits, but not for protection type 3
	App     uint16
	AppMask uint16
}
