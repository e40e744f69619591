package blobfs

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/blobstore"
)

// heldDevice is a device in memory of which a test holds single operations back and lets them through.
type heldDevice struct {
	size int64

	mu     sync.Mutex
	mem    []byte
	held   func(r *bdev.Request) bool // which operations wait for pass; nil: none
	over   chan struct{}              // closed when nothing is held any more
	counts map[string]int             // operations carried out, by what heldKind calls them

	arrived chan string // an operation is held
	pass    chan struct{}
}

// neverEnds is when a test takes a wait for one that never ends.
const neverEnds = 30 * time.Second

func newHeldDevice(size int64) *heldDevice {
	return &heldDevice{
		size: size, mem: make([]byte, size), counts: make(map[string]int),
		arrived: make(chan string), pass: make(chan struct{}),
	}
}

// heldKind names an operation: a flush, a frame of the journal, or by the first byte of what is written.
func heldKind(r *bdev.Request) string {
	switch {
	case r.Op == bdev.OpFlush:
		return "flush"
	case bytes.HasPrefix(r.Buf, []byte("BKVF")):
		return "frame"
	}
	return fmt.Sprintf("%v %#x", r.Op, r.Buf[0])
}

func (d *heldDevice) Properties() bdev.Properties {
	return bdev.Properties{
		BlockSize: 512, BlockCount: d.size / 512, BufferAlign: 1, WriteCache: true, Durable: true, QueueDepth: 64,
		Native: bdev.Ops(bdev.OpRead, bdev.OpWrite, bdev.OpFlush), Sync: bdev.Ops(bdev.OpFlush),
	}
}

func (d *heldDevice) NewQueue() (bdev.Queue, error) { return bdev.WorkerQueue(d.Execute, 64, 64), nil }
func (d *heldDevice) Resize(int64) error            { return bdev.ErrUnsupported }
func (d *heldDevice) Close() error                  { return nil }

func (d *heldDevice) Execute(r *bdev.Request) error {
	d.wait(r)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch r.Op {
	case bdev.OpRead:
		copy(r.Buf, d.mem[r.Offset:])
	case bdev.OpWrite:
		copy(d.mem[r.Offset:], r.Buf)
	}
	d.counts[heldKind(r)]++
	return nil
}

// wait is where an operation is held.
func (d *heldDevice) wait(r *bdev.Request) {
	d.mu.Lock()
	held, over := d.held != nil && d.held(r), d.over
	d.mu.Unlock()
	if !held {
		return
	}
	select {
	case d.arrived <- heldKind(r):
	case <-over:
		return
	}
	select {
	case <-d.pass:
	case <-over:
	}
}

// hold says which operations wait from now on, until the returned function is called.
func (d *heldDevice) hold(held func(r *bdev.Request) bool) (release func()) {
	over := make(chan struct{})
	d.mu.Lock()
	d.held, d.over = held, over
	d.mu.Unlock()
	return sync.OnceFunc(func() {
		d.mu.Lock()
		d.held = nil
		d.mu.Unlock()
		close(over)
	})
}

func (d *heldDevice) count(kind string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts[kind]
}

func isFlush(r *bdev.Request) bool { return r.Op == bdev.OpFlush }

// heldEnv is a file system with a journal of the given size on such a device.
func heldEnv(t *testing.T, journal int64) (*env, *heldDevice) {
	d := newHeldDevice(64 << 20)
	dev, err := bdev.New("held", d, bdev.Options{})
	require.NoError(t, err)
	e := &env{t: t, dev: dev}
	require.NoError(t, Format(dev, FormatOptions{FormatOptions: blobstore.FormatOptions{ClusterSize: 64 << 10, JournalSize: journal}}))
	e.mount()
	t.Cleanup(func() {
		e.finish()
		require.NoError(t, dev.Close())
	})
	return e, d
}

// within fails the test when a channel says nothing for too long.
func within[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(neverEnds):
		t.Fatal("still waiting for " + what)
	}
	return v
}

// async runs f and says what it returned.
func async(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// flushTime is how long a flush takes that letThrough passes: much longer than those who are about to ask for the next need.
const flushTime = 20 * time.Millisecond

// letThrough passes held flushes until all of done have come, and returns how many it passed. Failed ones count too.
func (d *heldDevice) letThrough(t *testing.T, done <-chan error, n int) (flushes int) {
	t.Helper()
	for n > 0 {
		select {
		case err := <-done:
			require.NoError(t, err)
			n--
		case <-d.arrived:
			time.Sleep(flushTime)
			d.pass <- struct{}{}
			flushes++
		case <-time.After(neverEnds):
			t.Fatal("neither a flush nor an end")
		}
	}
	return flushes
}
