package blobstore

import (
	"encoding/binary"
	"fmt"
)

// opKind is what one operation of a record does. Redo is logical, but allocations are physical: replay decides nothing.
type opKind byte

// Operations. The numbers are part of the format.
const (
	opCreate      opKind = 1 // the blob exists, empty
	opDelete      opKind = 2 // the blob is gone, its clusters are free
	opTruncate    opKind = 3 // the blob is cut to a number of clusters, the rest is free
	opExtend      opKind = 4 // runs of clusters are appended to the blob
	opSetXattr    opKind = 5
	opRemoveXattr opKind = 6
	opSetVouched  opKind = 7 // set xattr, if the vouched bytes are there or the record is confirmed
)

var opNames = map[opKind]string{
	opCreate: "create", opDelete: "delete", opTruncate: "truncate", opExtend: "extend",
	opSetXattr: "set xattr", opRemoveXattr: "remove xattr", opSetVouched: "set xattr, vouched",
}

func (k opKind) String() string {
	if n, ok := opNames[k]; ok {
		return n
	}
	return fmt.Sprintf("operation %d", byte(k))
}

// journalOp is one operation of a transaction.
type journalOp struct {
	kind     opKind
	id       BlobID
	clusters uint32   // opTruncate: clusters that stay
	runs     []extent // opExtend
	name     string   // xattr operations
	value    []byte   // opSetXattr, opSetVouched
	vouch    Vouch    // opSetVouched
}

// Record: one transaction.
//
//	OFFSET  SIZE  FIELD
//	     0     4  length of the record in bytes, this header included
//	     4     4  operations
//	     8     8  LSN
//	    16     n  operations
//
// Operation:
//
//	OFFSET  SIZE  FIELD
//	     0     1  kind
//	     1     1  reserved, zero
//	     2     2  xattr operations: length of the name
//	     4     4  md page index of the blob
//	     8     4  truncate: clusters that stay; extend: number of runs; set xattr: length of the value
//	    12    24  set xattr, vouched: offset and length in the blob in bytes (8, 8), checksum of these bytes (8)
//	     .     n  extend: runs of first cluster and count (4, 4); xattr operations: name, value
const (
	recordHeaderSize = 16
	opHeaderSize     = 12
	vouchSize        = 24
)

// appendRecord encodes a transaction at the end of b. The LSN is stampRecord's, once it is known.
func appendRecord(b []byte, ops []journalOp) []byte {
	start := len(b)
	b = append(b, make([]byte, recordHeaderSize)...)
	for i := range ops {
		b = ops[i].append(b)
	}
	le := binary.LittleEndian
	le.PutUint32(b[start:], uint32(len(b)-start))
	le.PutUint32(b[start+4:], uint32(len(ops)))
	return b
}

// stampRecord puts the LSN into an encoded record.
func stampRecord(record []byte, lsn LSN) { binary.LittleEndian.PutUint64(record[8:], uint64(lsn)) }

func (op *journalOp) append(b []byte) []byte {
	var h [opHeaderSize + vouchSize]byte
	le := binary.LittleEndian
	h[0] = byte(op.kind)
	le.PutUint16(h[2:], uint16(len(op.name)))
	le.PutUint32(h[4:], uint32(op.id.page()))
	size := opHeaderSize
	switch op.kind {
	case opTruncate:
		le.PutUint32(h[8:], op.clusters)
	case opExtend:
		le.PutUint32(h[8:], uint32(len(op.runs)))
	case opSetXattr, opRemoveXattr:
		le.PutUint32(h[8:], uint32(len(op.value)))
	case opSetVouched:
		le.PutUint32(h[8:], uint32(len(op.value)))
		le.PutUint64(h[12:], uint64(op.vouch.Offset))
		le.PutUint64(h[20:], uint64(op.vouch.Length))
		le.PutUint64(h[28:], op.vouch.Sum)
		size += vouchSize
	}
	b = append(b, h[:size]...)
	for _, r := range op.runs {
		var run [rleEntrySize]byte
		putExtent(run[:], r)
		b = append(b, run[:]...)
	}
	b = append(b, op.name...)
	return append(b, op.value...)
}

// record is a decoded transaction. Names and values are copies.
type record struct {
	lsn LSN
	ops []journalOp
}

// unmarshalRecord reads the record at the start of b and returns how many bytes it takes.
func unmarshalRecord(b []byte) (record, int, error) {
	le := binary.LittleEndian
	if len(b) < recordHeaderSize {
		return record{}, 0, corruptf(0, "journal record", "at least 16 bytes", fmt.Sprint(len(b)))
	}
	size, count := le.Uint32(b), le.Uint32(b[4:])
	if size < recordHeaderSize || uint64(size) > uint64(len(b)) {
		return record{}, 0, corruptf(0, "journal record: length", fmt.Sprintf("16 to %d", len(b)), fmt.Sprint(size))
	}
	if uint64(count)*opHeaderSize > uint64(size) {
		return record{}, 0, corruptf(4, "journal record: operations", fmt.Sprintf("those of %d bytes", size), fmt.Sprint(count))
	}
	r := record{lsn: LSN(le.Uint64(b[8:])), ops: make([]journalOp, count)}
	off := recordHeaderSize
	for i := range r.ops {
		n, err := r.ops[i].unmarshal(b[off:size])
		if err != nil {
			return record{}, 0, shift(err, off)
		}
		off += n
	}
	if off != int(size) {
		return record{}, 0, corruptf(0, "journal record: length", fmt.Sprint(off), fmt.Sprint(size))
	}
	return r, off, nil
}

// unmarshal reads one operation and returns its size.
func (op *journalOp) unmarshal(b []byte) (int, error) {
	if len(b) < opHeaderSize {
		return 0, corruptf(0, "journal operation", "12 bytes", fmt.Sprint(len(b)))
	}
	le := binary.LittleEndian
	names, arg := int(le.Uint16(b[2:])), le.Uint32(b[8:])
	*op = journalOp{kind: opKind(b[0]), id: blobIDOf(pageIndex(le.Uint32(b[4:])))}
	if !op.id.valid() {
		return 0, corruptf(4, "journal operation: blob", "a md page", op.id.String())
	}
	body := b[opHeaderSize:]
	switch op.kind {
	case opCreate, opDelete:
		return opHeaderSize, nil
	case opTruncate:
		op.clusters = arg
		return opHeaderSize, nil
	case opExtend:
		return op.unmarshalRuns(body, arg)
	case opSetXattr, opRemoveXattr:
		n, err := op.unmarshalXattr(body, names, arg)
		return opHeaderSize + n, err
	case opSetVouched:
		if len(body) < vouchSize {
			return 0, corruptf(opHeaderSize, "journal operation: voucher", "24 bytes", fmt.Sprint(len(body)))
		}
		op.vouch = Vouch{int64(le.Uint64(body)), int64(le.Uint64(body[8:])), le.Uint64(body[16:])}
		if op.vouch.Offset < 0 || op.vouch.Length < 0 || op.vouch.Offset+op.vouch.Length < 0 {
			return 0, corruptf(opHeaderSize, "journal operation: voucher", "a range", fmt.Sprint(op.vouch))
		}
		n, err := op.unmarshalXattr(body[vouchSize:], names, arg)
		return opHeaderSize + vouchSize + n, err
	}
	return 0, corruptf(0, "journal operation: kind", "1 to 7", fmt.Sprint(b[0]))
}

func (op *journalOp) unmarshalRuns(body []byte, n uint32) (int, error) {
	if uint64(n)*rleEntrySize > uint64(len(body)) {
		return 0, corruptf(8, "journal operation: runs", fmt.Sprintf("those of %d bytes", len(body)), fmt.Sprint(n))
	}
	op.runs = make([]extent, n)
	for i := range op.runs {
		op.runs[i] = getExtent(body[i*rleEntrySize:])
	}
	return opHeaderSize + int(n)*rleEntrySize, nil
}

func (op *journalOp) unmarshalXattr(body []byte, name int, value uint32) (int, error) {
	if uint64(name)+uint64(value) > uint64(len(body)) {
		return 0, corruptf(8, "journal operation: xattr", fmt.Sprintf("at most %d bytes", len(body)), fmt.Sprintf("%d+%d", name, value))
	}
	op.name = string(body[:name])
	op.value = append([]byte(nil), body[name:name+int(value)]...)
	if op.kind != opRemoveXattr {
		if err := checkXattr(op.name, op.value); err != nil {
			return 0, corruptf(2, "journal operation: xattr", "one that fits", err.Error())
		}
	}
	return name + int(value), nil
}
