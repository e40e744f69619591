package aiobdev

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's interface: linux/aio_abi.h, and struct aio_ring of fs/aio.c, whose layout is fixed because libaio and
// others read it.

// Commands of an iocb.
const (
	cmdPread  = 0 // IOCB_CMD_PREAD
	cmdPwrite = 1 // IOCB_CMD_PWRITE
)

// iocb describes one request to io_submit. What is blank below stays zero; key and rwFlags swap places on big-endian
// machines.
//
//	OFFSET SIZE FIELD
//	     0    8 data       returned in the event
//	     8    4 key        set by the kernel
//	    12    4 rwFlags    RWF_*
//	    16    2 opcode
//	    18    2 priority
//	    20    4 fd
//	    24    8 buf        address
//	    32    8 nbytes
//	    40    8 offset     bytes from the start of the file
//	    48    8 reserved
//	    56    4 flags
//	    60    4 resFD
type iocb struct {
	data   uint64
	_      [2]uint32 // key, rwFlags
	opcode uint16
	_      int16 // priority
	fd     uint32
	buf    uint64
	nbytes uint64
	offset int64
	_      uint64    // reserved
	_      [2]uint32 // flags, resFD
}

// event is one completion.
//
//	OFFSET SIZE FIELD
//	     0    8 data  of the iocb
//	     8    8 obj   address of the iocb
//	    16    8 res   bytes transferred, or a negated errno
//	    24    8 res2
type event struct {
	data uint64
	obj  uint64
	res  int64
	res2 int64
}

// ring is the start of the kernel's completion ring, mapped into this process; its address is the AIO context's
// handle. The kernel produces at tail, this process consumes at head; both count entries and wrap at nr.
//
//	OFFSET SIZE FIELD
//	     0    4 id
//	     4    4 nr            entries
//	     8    4 head
//	    12    4 tail
//	    16    4 magic
//	    20    4 compat        features
//	    24    4 incompat      features; a reader that knows none must find none
//	    28    4 headerLength  bytes before the first event
type ring struct {
	id           uint32
	nr           uint32
	head         atomic.Uint32
	tail         atomic.Uint32
	magic        uint32
	compat       uint32
	incompat     uint32
	headerLength uint32
}

// Compile-time checks of the sizes above.
var (
	_ = [1]struct{}{}[unsafe.Sizeof(iocb{})-64]
	_ = [1]struct{}{}[unsafe.Sizeof(event{})-32]
	_ = [1]struct{}{}[unsafe.Sizeof(ring{})-ringHeaderLength]
)

const (
	ringMagic        = 0xa10a10a1
	ringHeaderLength = 32
)

// known says whether the ring has the layout above.
func (r *ring) known() bool {
	return r.magic == ringMagic && r.incompat == 0 && r.headerLength == ringHeaderLength && r.nr != 0
}

// events returns the ring's entries, or nil where the layout is not the known one and completions have to be fetched
// with io_getevents.
func (r *ring) events() []event {
	if !r.known() {
		return nil
	}
	first := (*event)(unsafe.Add(unsafe.Pointer(r), ringHeaderLength))
	return unsafe.Slice(first, r.nr)
}

// ioSetup makes an AIO context for depth requests. The kernel stores the context's handle, which is the address of
// the ring, straight into the pointer.
func ioSetup(depth int) (*ring, error) {
	r := new(*ring)
	_, _, errno := unix.Syscall(unix.SYS_IO_SETUP, uintptr(depth), uintptr(unsafe.Pointer(r)), 0)
	if errno != 0 {
		return nil, errno
	}
	return *r, nil
}

// ioDestroy ends a context; it waits for requests that are still outstanding.
func ioDestroy(r *ring) error {
	if _, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, uintptr(unsafe.Pointer(r)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// ioSubmit starts the requests in order and returns how many the kernel took. With an error it took none, and the
// error is the first one's.
func ioSubmit(r *ring, batch []*iocb) (int, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, uintptr(unsafe.Pointer(r)), uintptr(len(batch)),
		uintptr(unsafe.Pointer(unsafe.SliceData(batch))))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// ioGetevents fetches at most len(into) completions and waits for the first least of them until the timeout.
func ioGetevents(r *ring, least int, into []event, timeout *unix.Timespec) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, uintptr(unsafe.Pointer(r)), uintptr(least), uintptr(len(into)),
		uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(unsafe.Pointer(timeout)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// prepare fills an iocb that moves buf to or from the file. The caller keeps buf reachable until the completion.
func (c *iocb) prepare(opcode uint16, fd int, slot uint32, buf []byte, offset int64) {
	*c = iocb{
		data:   uint64(slot),
		opcode: opcode,
		fd:     uint32(fd),
		buf:    uint64(uintptr(unsafe.Pointer(unsafe.SliceData(buf)))),
		nbytes: uint64(len(buf)),
		offset: offset,
	}
}
