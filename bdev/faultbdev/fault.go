package faultbdev

import (
	"fmt"
	"slices"

	"github.com/blobkv/blobkv/bdev"
)

// Fault is what happens to an operation. Make one with the functions below.
type Fault struct {
	kind kind
	err  error
}

type kind uint8

const (
	kindPass     kind = iota // nothing, but it counts as a hit
	kindFail                 // not carried out
	kindFailLate             // carried out and yet reported as failed
	kindTear                 // the first half is carried out
	kindDrop                 // not carried out and yet reported as done
	kindCorrupt              // one bit differs
	kindGone                 // this one and all later operations fail
)

// Pass lets the operation through: the rule only counts.
func Pass() Fault { return Fault{kind: kindPass} }

// Fail keeps the operation from being carried out.
func Fail(err error) Fault { return Fault{kindFail, err} }

// FailLate carries the operation out and then reports an error, as after a lost acknowledgement.
func FailLate(err error) Fault { return Fault{kindFailLate, err} }

// Tear carries out the first half of a write, write zeroes or unmap, in whole blocks rounded down, and then reports
// an error. Other operations fail.
func Tear(err error) Fault { return Fault{kindTear, err} }

// Drop reports success without doing anything: a lost write, a flush that lies. A read that is dropped returns
// whatever was in the buffer.
func Drop() Fault { return Fault{kind: kindDrop} }

// Corrupt flips the lowest bit of one byte, the first of the buffer that lies in the range of the rule: of what a
// read returns, or of what a write stores. Operations without a buffer pass.
func Corrupt() Fault { return Fault{kind: kindCorrupt} }

// Gone makes the device leave: this and every later operation fails with bdev.ErrGone until Clear.
func Gone() Fault { return Fault{kind: kindGone, err: bdev.ErrGone} }

// String names the fault.
func (f Fault) String() string {
	names := [...]string{"pass", "fail", "fail late", "tear", "drop", "corrupt", "gone"}
	if f.err == nil {
		return names[f.kind]
	}
	return fmt.Sprintf("%s (%v)", names[f.kind], f.err)
}

// begin applies the fault to a request on its way down.
func (f Fault) begin(r Rule, lower *bdev.Request, blockSize int) bdev.Verdict {
	switch f.kind {
	case kindFail, kindGone:
		return bdev.Verdict{Answered: true, Err: f.err}
	case kindDrop:
		return bdev.Verdict{Answered: true}
	case kindTear:
		if !halve(lower, int64(blockSize)) {
			return bdev.Verdict{Answered: true, Err: f.err}
		}
		return bdev.Verdict{Tag: f}
	case kindFailLate:
		return bdev.Verdict{Tag: f}
	case kindCorrupt:
		if lower.Op == bdev.OpRead {
			return bdev.Verdict{Tag: r}
		}
		if len(lower.Buf) > 0 {
			// The caller's memory is not ours to change.
			lower.Buf = slices.Clone(lower.Buf)
			r.flip(lower)
		}
	}
	return bdev.Verdict{}
}

// halve cuts a request that writes to its first half, and tells whether anything is left.
func halve(r *bdev.Request, blockSize int64) bool {
	switch r.Op {
	case bdev.OpWrite:
		r.Buf = r.Buf[:int64(len(r.Buf))/2/blockSize*blockSize]
		return len(r.Buf) > 0
	case bdev.OpWriteZeroes, bdev.OpUnmap:
		r.Length = r.Length / 2 / blockSize * blockSize
		return r.Length > 0
	}
	return false
}
