package bdev

import "strings"

var opNames = [numOps]string{"read", "write", "flush", "unmap", "write zeroes", "allocate", "compare",
	"compare and write", "copy", "reset", "abort"}

// String is the operation in words.
func (o Op) String() string {
	if o < numOps {
		return opNames[o]
	}
	return "unknown operation"
}

var unmappedNames = [...]string{UnmappedOldOrZeros: "old data or zeros", UnmappedZeros: "zeros", UnmappedAnything: "anything"}

// String is what such a range reads as, in words.
func (u Unmapped) String() string {
	if int(u) < len(unmappedNames) {
		return unmappedNames[u]
	}
	return "unknown"
}

// Ops makes a set.
func Ops(ops ...Op) OpSet {
	var s OpSet
	for _, o := range ops {
		s |= 1 << o
	}
	return s
}

// Has tells whether the set holds an operation.
func (s OpSet) Has(o Op) bool { return s&(1<<o) != 0 }

// String lists the operations.
func (s OpSet) String() string {
	var names []string
	for o := range numOps {
		if s.Has(o) {
			names = append(names, o.String())
		}
	}
	return strings.Join(names, ", ")
}

// AllOps lists every operation, for loops over statistics and capabilities.
func AllOps() []Op {
	ops := make([]Op, numOps)
	for i := range ops {
		ops[i] = Op(i)
	}
	return ops
}

const (
	bufferOps = 1<<OpRead | 1<<OpWrite | 1<<OpCompare | 1<<OpCompareAndWrite
	writeOps  = 1<<OpWrite | 1<<OpUnmap | 1<<OpWriteZeroes | 1<<OpAllocate | 1<<OpCompareAndWrite | 1<<OpCopy
	rangeOps  = bufferOps | writeOps
)

// ranged tells whether the operation has an offset and a length.
func (o Op) ranged() bool { return OpSet(rangeOps).Has(o) }

// writes tells whether the operation may change what the device holds.
func (o Op) writes() bool { return OpSet(writeOps).Has(o) }

// hasBuffer tells whether the length is that of Buf.
func (o Op) hasBuffer() bool { return OpSet(bufferOps).Has(o) }
