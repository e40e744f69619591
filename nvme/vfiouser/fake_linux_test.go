package vfiouser

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// fakeController is a device of a few registers. Doorbell 0 is the tail of a ring of descriptors at the address in regRing; each
// copies from one place of the host's memory to another.
type fakeController struct {
	host     Host
	regs     [barRegisters]byte
	head     uint32
	resets   atomic.Int32
	attached atomic.Bool
	refuses  error // of Attach
}

const (
	regCap   = 0x00
	regCC    = 0x14 // bit 0 enables
	regRing  = 0x28
	ringSize = 16
	descSize = 32 // source, destination, bytes, status

	statusDone  = 1
	statusFault = 2

	fakeCap = 0x0102030405060708
)

func newFake() *fakeController { return &fakeController{} }

func (f *fakeController) Info() Info {
	return Info{Vendor: 0x1234, Device: 0x5678, Vectors: 3, DoorbellBytes: 64}
}

func (f *fakeController) Attach(h Host) (Controller, error) {
	if f.refuses != nil {
		return nil, f.refuses
	}
	f.host = h
	f.attached.Store(true)
	return f, f.Reset()
}

func (f *fakeController) Detach() error {
	f.host = Host{}
	f.attached.Store(false)
	return nil
}

func (f *fakeController) Working() bool { return false }

func (f *fakeController) Drain() error { return nil }

func (f *fakeController) Enabled() bool { return f.regs[regCC]&1 != 0 }

func (f *fakeController) Reset() error {
	clear(f.regs[:])
	binary.LittleEndian.PutUint64(f.regs[regCap:], fakeCap)
	f.head = 0
	f.resets.Add(1)
	return nil
}

func (f *fakeController) Load(offset uint32, size int) (uint64, error) {
	if offset == 0xff8 {
		return 0, errors.New("a register that cannot be read")
	}
	var b [8]byte
	copy(b[:size], f.regs[offset:])
	return binary.LittleEndian.Uint64(b[:]), nil
}

func (f *fakeController) Store(offset uint32, size int, value uint64) error {
	b := binary.LittleEndian.AppendUint64(nil, value)
	copy(f.regs[offset:], b[:size])
	return nil
}

func (f *fakeController) Poll() int {
	if !f.Enabled() {
		return 0
	}
	n := 0
	for tail := atomic.LoadUint32((*uint32)(unsafe.Pointer(&f.host.Doorbells[0]))); f.head != tail && n < ringSize; n++ {
		f.carryOut(binary.LittleEndian.Uint64(f.regs[regRing:]) + uint64(f.head%ringSize)*descSize)
		f.head++
		f.host.Interrupt(1)
	}
	return n
}

func (f *fakeController) carryOut(at uint64) {
	var d [descSize]byte
	if f.host.Memory.Read(at, d[:]) != nil {
		return
	}
	le := binary.LittleEndian
	n := int(min(le.Uint64(d[16:]), 1<<20))
	status := uint64(statusFault)
	from, to := f.host.Memory.Slice(le.Uint64(d[0:]), n, false), f.host.Memory.Slice(le.Uint64(d[8:]), n, true)
	if from != nil && to != nil {
		copy(to, from)
		status = statusDone
	} else if p := make([]byte, n); f.host.Memory.Read(le.Uint64(d[0:]), p) == nil && f.host.Memory.Write(le.Uint64(d[8:]), p) == nil {
		status = statusDone
	}
	if s := f.host.Memory.Slice(at+24, 8, true); s != nil {
		atomic.StoreUint64((*uint64)(unsafe.Pointer(&s[0])), status)
	} else {
		_ = f.host.Memory.Write(at+24, le.AppendUint64(nil, status)) // a host that is gone needs no status
	}
}

// checkFDs fails the test if it leaves descriptors open.
func checkFDs(t *testing.T) {
	t.Helper()
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(list)
	}
	warm := make(chan struct{}) // the runtime's own descriptors for timers and files
	time.AfterFunc(1, func() { close(warm) })
	<-warm
	before := count()
	t.Cleanup(func() { require.Equal(t, before, count(), "file descriptors") })
}

// countSockets counts the sockets that this process has open.
func countSockets(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	n := 0
	for _, e := range list {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// served is a server that runs in this process.
type served struct {
	*Server
	dir  string
	fake *fakeController
	log  chan string
	stop func()
}

func serve(t *testing.T, device Device, o ServerOptions) *served {
	t.Helper()
	checkFDs(t)
	fake, _ := device.(*fakeController)
	v := &served{dir: filepath.Join(t.TempDir(), "dev"), fake: fake, log: make(chan string, 4096)}
	o.Log = func(text string) {
		select {
		case v.log <- text:
		default:
		}
	}
	s, err := Listen(v.dir, device, o)
	require.NoError(t, err)
	v.Server = s
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	v.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, s.Close())
		require.NoFileExists(t, s.Path())
	})
	t.Cleanup(v.stop)
	return v
}

// wait returns when the log has a line that starts with text.
func (v *served) wait(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line := <-v.log:
			if len(line) >= len(text) && line[:len(text)] == text {
				return line
			}
		case <-deadline:
			t.Fatalf("the server did not say %q", text)
		}
	}
}

// hostRing is the host's side of the fake device.
type hostRing struct {
	mem  []byte
	tail uint32
	door *uint32
}

func newRing(t *testing.T, c *Client) *hostRing {
	t.Helper()
	m, err := c.Alloc(ringSize * descSize)
	require.NoError(t, err)
	require.NoError(t, c.Store64(regRing, m.IOVA))
	require.NoError(t, c.Store32(regCC, 1))
	w := c.Window(barRegisters, 4)
	require.NotNil(t, w)
	return &hostRing{mem: m.Bytes, door: (*uint32)(unsafe.Pointer(&w[0]))}
}

// copy has the device copy and returns its status.
func (r *hostRing) copy(t *testing.T, from, to uint64, n int) uint64 {
	t.Helper()
	status := r.start(from, to, n)
	for end := time.Now().Add(20 * time.Second); ; {
		if v := atomic.LoadUint64(status); v != 0 {
			return v
		}
		if time.Now().After(end) {
			t.Fatal("the device does not answer")
		}
	}
}

func (r *hostRing) start(from, to uint64, n int) *uint64 {
	le := binary.LittleEndian
	d := r.mem[int(r.tail%ringSize)*descSize:][:descSize]
	le.PutUint64(d[0:], from)
	le.PutUint64(d[8:], to)
	le.PutUint64(d[16:], uint64(n))
	status := (*uint64)(unsafe.Pointer(&d[24]))
	atomic.StoreUint64(status, 0)
	r.tail++
	atomic.StoreUint32(r.door, r.tail)
	return status
}
