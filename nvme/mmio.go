package nvme

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/blobkv/blobkv/nvme/spec"
)

// This file alone touches memory that the controller reads and writes at the same time. Loads and stores are atomic, so
// the compiler keeps their order, and so does the processor: Go's atomics are sequentially consistent, which on arm64 means
// load-acquire and store-release with barriers for what stores and then loads (needed between a shadow doorbell and
// the event index behind it).

// littleEndian is false on hosts where words of shared memory would have to be swapped; Open refuses those.
var littleEndian = func() bool {
	v := uint16(1)
	return *(*byte)(unsafe.Pointer(&v)) == 1
}()

// word is the 32-bit word at an offset of shared memory, which is 4-byte aligned.
func word(b []byte, offset int) *uint32 {
	b = b[offset : offset+4] // checks the bounds without touching what is there
	return (*uint32)(unsafe.Pointer(&b[0]))
}

// address is where a buffer lies, 0 for an empty one.
func address(b []byte) uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// doorbell is one doorbell register and, where the controller offers them, its shadow and event index in memory.
type doorbell struct {
	t      Transport
	offset uint32
	mapped *uint32 // the register, nil where it is not mapped
	care   bool    // what is mapped may be taken away (see Fragile)
	shadow *uint32 // what the controller polls, nil when there are no shadow doorbells
	event  *uint32 // how far the controller wants to go without being told
	last   uint32
}

// newDoorbell prepares the register at an offset.
func newDoorbell(t Transport, offset uint32) doorbell {
	d := doorbell{t: t, offset: offset}
	if w := t.Window(offset, 4); len(w) >= 4 {
		d.mapped = word(w, 0)
	}
	if f, ok := t.(Fragile); ok {
		d.care = f.Fragile()
	}
	return d
}

// shadowed makes the doorbell use the buffers of doorbell buffer config (base 2.0, section 5.8), which have one word for
// each register at the same stride.
func (d *doorbell) shadowed(shadow, event []byte) {
	at := int(d.offset - spec.RegDoorbells)
	d.shadow, d.event = nil, nil
	if shadow != nil && at+4 <= len(shadow) && at+4 <= len(event) {
		d.shadow, d.event = word(shadow, at), word(event, at)
	}
}

// ring tells the controller the new value. Everything written to the queue before is visible to it then.
func (d *doorbell) ring(value uint32) error {
	if d.shadow != nil {
		old := d.last
		d.last = value
		atomic.StoreUint32(d.shadow, value)
		if !passed(atomic.LoadUint32(d.event), value, old) {
			return nil
		}
	}
	switch {
	case d.mapped == nil:
		return d.t.Store32(d.offset, value)
	case d.care:
		return storeWithCare(d.mapped, value)
	}
	atomic.StoreUint32(d.mapped, value)
	return nil
}

// storeWithCare turns the fault of memory that was taken away into an error; it would end the process otherwise.
func storeWithCare(register *uint32, value uint32) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("its doorbells are not there any more: %w", ErrGone)
		}
	}()
	atomic.StoreUint32(register, value)
	return nil
}

// passed tells whether going from old to value passes the event index, in arithmetic that wraps at 16 bits.
func passed(event, value, old uint32) bool {
	return uint16(value-event-1) < uint16(value-old)
}
