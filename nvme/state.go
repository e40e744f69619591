package nvme

// requestState is what the driver keeps of a request that it owns.
type requestState struct {
	next    *Request // of a requestList
	info    *NamespaceInfo
	left    uint64 // blocks, or ranges, that no command carries yet
	offset  uint64 // blocks, or ranges, that commands carry
	within  uint64 // blocks of the first range of left that commands carry
	perCmd  uint64 // most blocks of one command, or of one of its ranges
	unit    uint32 // bytes of Buf for a block
	pending int32  // commands outstanding
	flags   uint32 // CDW12 but for the number of blocks
	opcode  uint8
	kind    opKind
	err     error // first error
}

// opKind is how a request turns into commands.
type opKind uint8

const (
	kindData   opKind = iota // blocks with data, split
	kindRange                // blocks without data, split
	kindTrim                 // one range or a list of ranges in memory
	kindFused                // two commands
	kindSingle               // one command without splitting
)
