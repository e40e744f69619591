package vfio

import (
	"encoding/binary"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/blobkv/blobkv/internal/memfault"
)

// little is the byte order of registers and of the configuration space.
var little = binary.LittleEndian

// Loads and stores of device memory are atomic ones, which the compiler neither splits nor drops nor reorders.

func load32(b []byte) uint32     { return atomic.LoadUint32((*uint32)(unsafe.Pointer(&b[0]))) }
func load64(b []byte) uint64     { return atomic.LoadUint64((*uint64)(unsafe.Pointer(&b[0]))) }
func store32(b []byte, v uint32) { atomic.StoreUint32((*uint32)(unsafe.Pointer(&b[0])), v) }
func store64(b []byte, v uint64) { atomic.StoreUint64((*uint64)(unsafe.Pointer(&b[0])), v) }

// guarded turns the fault of an access to a device that was taken away into an error; it would end the process otherwise.
func guarded(access func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer memfault.Recover(&err)
	access()
	return nil
}
