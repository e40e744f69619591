package nvmetest

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
)

// Registers (NVMe base 2.0, section 3.1.3).
const (
	regCAP      = 0x00
	regVS       = 0x08
	regCC       = 0x14
	regCSTS     = 0x1c
	regAQA      = 0x24
	regASQ      = 0x28
	regACQ      = 0x30
	regDoorbell = 0x1000

	ccEnable      = 0x460001 // entries of 64 and 16 bytes, enabled
	identifyBytes = 4096
	entries       = 8 // of the admin queues
	commandBytes  = 64
	replyBytes    = 16

	opIdentify = 0x06
	waitLimit  = 30 * time.Second
)

// admin is an admin queue pair, driven by hand: enough to show that a transport moves data and interrupts.
type admin struct {
	t      *testing.T
	tr     nvme.Transport
	sq, cq nvme.DMA
	tail   uint32
	head   uint32
	phase  uint16
	stride uint32
}

// newAdmin enables the controller with an admin queue pair. What it took is freed at the end of the test.
func newAdmin(t *testing.T, tr nvme.Transport) *admin {
	t.Helper()
	a := &admin{t: t, tr: tr, phase: 1}
	capability, err := tr.Load64(regCAP)
	require.NoError(t, err)
	a.stride = 4 << (capability >> 32 & 15)
	a.disable()
	a.sq, a.cq = a.alloc(entries*commandBytes), a.alloc(entries*replyBytes)
	require.NoError(t, tr.Store32(regAQA, (entries-1)<<16|entries-1))
	require.NoError(t, tr.Store64(regASQ, a.sq.IOVA))
	require.NoError(t, tr.Store64(regACQ, a.cq.IOVA))
	require.NoError(t, tr.Store32(regCC, ccEnable))
	a.ready(1)
	return a
}

func (a *admin) alloc(size int) nvme.DMA {
	a.t.Helper()
	m, err := a.tr.Alloc(size)
	require.NoError(a.t, err)
	return m
}

// disable stops the controller, so that nothing it was told is used any more.
func (a *admin) disable() {
	a.t.Helper()
	require.NoError(a.t, a.tr.Store32(regCC, 0))
	a.ready(0)
}

// ready waits until the controller is.
func (a *admin) ready(want uint32) {
	a.t.Helper()
	for end := time.Now().Add(waitLimit); ; {
		csts, err := a.tr.Load32(regCSTS)
		require.NoError(a.t, err)
		if csts&1 == want {
			return
		}
		require.True(a.t, time.Now().Before(end), "CSTS %#x, ready %d wanted", csts, want)
	}
}

// identify submits Identify Controller (NVMe base 2.0, section 5.17) into memory at an address.
func (a *admin) identify(iova uint64) {
	a.t.Helper()
	c := a.sq.Bytes[a.tail*commandBytes:][:commandBytes]
	clear(c)
	binary.LittleEndian.PutUint32(c, opIdentify|(0x100+a.tail)<<16)
	binary.LittleEndian.PutUint64(c[24:], iova)
	binary.LittleEndian.PutUint32(c[40:], 1) // CNS 01h
	a.tail = (a.tail + 1) % entries
	if w := a.tr.Window(regDoorbell, 8); w != nil {
		atomic.StoreUint32((*uint32)(unsafe.Pointer(&w[0])), a.tail)
		return
	}
	require.NoError(a.t, a.tr.Store32(regDoorbell, a.tail))
}

// done tells whether the next completion is there: its phase tag has changed.
func (a *admin) done() bool { return uint16(a.last()>>16)&1 == a.phase }

// last is the fourth word of the next completion: command identifier, phase tag, status.
func (a *admin) last() uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&a.cq.Bytes[a.head*replyBytes+12])))
}

// take frees the next completion's entry.
func (a *admin) take() error {
	a.head = (a.head + 1) % entries
	if a.head == 0 {
		a.phase ^= 1
	}
	return a.tr.Store32(regDoorbell+a.stride, a.head)
}

// wait polls for the next completion and returns its status.
func (a *admin) wait() (status uint16) {
	a.t.Helper()
	for end := time.Now().Add(waitLimit); !a.done(); {
		require.True(a.t, time.Now().Before(end), "no completion")
	}
	status = uint16(a.last()>>16) >> 1
	require.NoError(a.t, a.take())
	return status
}
