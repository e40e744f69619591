package bdev_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// bigFake is large enough for the conformance suite.
func bigFake(change func(p *bdev.Properties)) *fake {
	f := newFake()
	f.mem = make([]byte, bdevtest.MinSize)
	f.props.BlockCount = int64(len(f.mem) / f.props.BlockSize)
	change(&f.props)
	return f
}

// TestConformance runs the suite on a backend with every restriction at once.
func TestConformance(t *testing.T) {
	for name, change := range map[string]func(p *bdev.Properties){
		"queue":    func(p *bdev.Properties) {},
		"bounded":  func(p *bdev.Properties) { p.QueueDepth, p.BufferAlign, p.OptimalBoundary = 1, 4096, 24<<10 },
		"blocking": func(p *bdev.Properties) { p.Sync, p.BufferAlign, p.MaxTransfer = p.Native, 512, 12<<10 },
		"flushes":  func(p *bdev.Properties) { p.Sync = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			bdevtest.Run(t, func(t *testing.T) *bdev.Device {
				f := bigFake(change)
				f.seed = rand.Uint64()
				d, err := bdev.New("fake:", f, bdev.Options{Channels: 2})
				require.NoError(t, err)
				return d
			})
		})
	}
}

// workerFake carries its requests out on the goroutines of a WorkerQueue.
type workerFake struct{ *fake }

func (f workerFake) NewQueue() (bdev.Queue, error) { return bdev.WorkerQueue(f.run, 3, 5), nil }

func TestWorkerQueue(t *testing.T) {
	for _, policy := range []bdev.Policy{bdev.PolicyAdaptive, bdev.PolicySleep} {
		t.Run(policy.String(), func(t *testing.T) {
			bdevtest.Run(t, func(t *testing.T) *bdev.Device {
				f := bigFake(func(p *bdev.Properties) { p.Sync, p.QueueDepth = 0, 5 })
				d, err := bdev.New("fake:", workerFake{f}, bdev.Options{Policy: policy})
				require.NoError(t, err)
				return d
			})
		})
	}
}

// TestFailedBounce wants the device memory back when the device fails, and the caller's memory left alone.
func TestFailedBounce(t *testing.T) {
	f := newFake()
	f.props.BufferAlign = 4096
	f.fail = func(r *bdev.Request) error {
		if r.Op == bdev.OpRead {
			clear(r.Buf)
			return bdev.ErrIO
		}
		return nil
	}
	d := f.open(t, bdev.Options{})
	p := bytes.Repeat([]byte{7}, 8192+1)[1:]
	require.NoError(t, d.Write(p, 0))
	require.ErrorIs(t, d.Read(p, 0), bdev.ErrIO)
	require.Equal(t, bytes.Repeat([]byte{7}, 8192), p)
	require.Zero(t, dmabuf.Default.Stats().Used)
}

// TestManyOnFew is the test of the lead: many goroutines, queues with room for few, every policy, one and two
// processors. A lost wake-up hangs it, a second poller panics.
func TestManyOnFew(t *testing.T) {
	for _, procs := range []int{1, 2} {
		for _, policy := range []bdev.Policy{bdev.PolicyAdaptive, bdev.PolicyPoll, bdev.PolicySleep} {
			for _, depth := range []int{1, 3, 64} {
				t.Run(fmt.Sprintf("%d/%v/%d", procs, policy, depth), func(t *testing.T) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
					f := newFake()
					f.props.QueueDepth, f.seed = depth, rand.Uint64()
					t.Logf("seed %d", f.seed)
					hammer(t, f.open(t, bdev.Options{Policy: policy, Channels: 1}))
				})
			}
		}
	}
}

// hammer mixes goroutines that wait at once, that wait later, and that never wait.
func hammer(t *testing.T, d *bdev.Device) {
	var wg sync.WaitGroup
	for g := range 24 {
		wg.Go(func() {
			off := int64(g * 4096)
			for i := range 40 {
				p := bytes.Repeat([]byte{byte(g), byte(i)}, 512)
				w, r := bdev.GetRequest(), bdev.GetRequest()
				w.Op, w.Buf, w.Offset = bdev.OpWrite, p, off
				r.Op, r.Buf, r.Offset = bdev.OpRead, make([]byte, len(p)), off
				if d.Submit(w); g%3 == 2 {
					for !w.Done() {
						runtime.Gosched()
					}
				}
				if err := errors.Join(d.Wait(w), d.Do(r)); err != nil || !bytes.Equal(r.Buf, p) {
					t.Errorf("goroutine %d, round %d: %v", g, i, err)
				}
				bdev.PutRequest(w)
				bdev.PutRequest(r)
			}
		})
	}
	wg.Wait()
}

// TestIdleCostsNothing wants no poll while nothing is outstanding.
func TestIdleCostsNothing(t *testing.T) {
	f := newFake()
	d := f.open(t, bdev.Options{})
	r := bdev.GetRequest()
	r.Op, r.Buf = bdev.OpWrite, make([]byte, 512)
	d.Submit(r)
	for !r.Done() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	before := f.polls.Load()
	time.Sleep(50 * time.Millisecond)
	require.Equal(t, before, f.polls.Load())
}

// flushGate is a flush that says when it starts and waits to be let through.
type flushGate struct {
	started chan struct{}
	pass    chan error
}

func gatedFlush(f *fake) flushGate {
	g := flushGate{make(chan struct{}), make(chan error)}
	f.execute = func(r *bdev.Request) error {
		g.started <- struct{}{}
		return <-g.pass
	}
	return g
}

// flushAsync calls Flush on n goroutines.
func flushAsync(d *bdev.Device, n int) <-chan error {
	results := make(chan error, n)
	for range n {
		go func() { results <- d.Flush() }()
	}
	return results
}

// TestFlushIsShared wants callers that come while a flush runs to be served by exactly one later flush, not by the one
// that had started before they came.
func TestFlushIsShared(t *testing.T) {
	f := newFake()
	g := gatedFlush(f)
	d := f.open(t, bdev.Options{})
	first := flushAsync(d, 1)
	<-g.started
	late := flushAsync(d, 8)
	time.Sleep(20 * time.Millisecond) // the late callers arrive
	g.pass <- nil
	require.NoError(t, <-first)
	<-g.started
	select {
	case <-late:
		t.Fatal("a flush that had started before the call served it")
	default:
	}
	g.pass <- nil
	for range 8 {
		require.NoError(t, <-late)
	}
	require.Len(t, f.requests(), 2)
}

func TestFlushErrorReachesAll(t *testing.T) {
	f := newFake()
	g := gatedFlush(f)
	d := f.open(t, bdev.Options{})
	first := flushAsync(d, 1)
	<-g.started
	late := flushAsync(d, 5)
	time.Sleep(20 * time.Millisecond)
	g.pass <- nil
	require.NoError(t, <-first)
	<-g.started
	g.pass <- fs.ErrInvalid
	for served := 0; served < 5; {
		select {
		case err := <-late:
			require.ErrorIs(t, err, fs.ErrInvalid)
			served++
		case <-g.started: // for callers that came too late for the second flush
			g.pass <- fs.ErrInvalid
		}
	}
}

func TestPieces(t *testing.T) {
	f := newFake()
	f.props.MaxTransfer, f.props.OptimalBoundary = 8<<10, 10<<10
	d := f.open(t, bdev.Options{})
	require.NoError(t, d.Write(make([]byte, 40<<10), 2048))
	next := int64(2048)
	for _, s := range f.requests() {
		require.LessOrEqual(t, s.n, int64(8<<10))
		require.Equal(t, s.off/(10<<10), (s.off+s.n-1)/(10<<10), "%+v crosses a boundary", s)
		require.Equal(t, bdev.OpWrite, s.op)
		next += s.n
	}
	require.EqualValues(t, 42<<10, next)
}

func TestFirstErrorOfPieces(t *testing.T) {
	f := newFake()
	f.props.MaxTransfer = 4096
	f.fail = func(r *bdev.Request) error {
		if r.Offset == 8192 {
			return fmt.Errorf("%w: %w", bdev.ErrNoSpace, fs.ErrPermission)
		}
		return nil
	}
	d := f.open(t, bdev.Options{})
	err := d.Write(make([]byte, 32<<10), 0)
	require.ErrorIs(t, err, bdev.ErrNoSpace)
	require.ErrorIs(t, err, fs.ErrPermission)
	var e *bdev.Error
	require.ErrorAs(t, err, &e)
	require.EqualValues(t, 8192, e.Offset, "the error names the piece")
	require.NoError(t, d.Write(make([]byte, 4096), 0))
}

func TestFUA(t *testing.T) {
	for name, c := range map[string]struct {
		native, cache bool
		want          []seen
	}{
		"emulated": {false, true, []seen{{bdev.OpWrite, false, 0, 512}, {bdev.OpFlush, false, 0, 0}}},
		"native":   {true, true, []seen{{bdev.OpWrite, true, 0, 512}}},
		"no cache": {false, false, []seen{{bdev.OpWrite, true, 0, 512}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.props.FUA, f.props.WriteCache = c.native, c.cache
			d := f.open(t, bdev.Options{})
			r := bdev.GetRequest()
			r.Op, r.FUA, r.Buf = bdev.OpWrite, true, make([]byte, 512)
			require.NoError(t, d.Do(r))
			require.Equal(t, c.want, f.requests())
		})
	}
}

// TestBlockingOperationsAreBounded wants submitted operations that block to run on few goroutines, and all of them to
// be carried out.
func TestBlockingOperationsAreBounded(t *testing.T) {
	f := newFake()
	f.props.Native |= bdev.Ops(bdev.OpUnmap)
	f.props.Sync |= bdev.Ops(bdev.OpUnmap)
	var running, most atomic.Int64
	f.execute = func(r *bdev.Request) error {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(time.Millisecond)
		running.Add(-1)
		return nil
	}
	d := f.open(t, bdev.Options{})
	rs := make([]*bdev.Request, 200)
	for i := range rs {
		rs[i] = bdev.GetRequest()
		rs[i].Op, rs[i].Offset, rs[i].Length = bdev.OpUnmap, int64(i)*512, 512
		d.Submit(rs[i])
	}
	for _, r := range rs {
		require.NoError(t, d.Wait(r))
	}
	require.Len(t, f.requests(), 200)
	require.Greater(t, most.Load(), int64(1))
	require.LessOrEqual(t, most.Load(), int64(16))
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(p *bdev.Properties){
		"block size":     func(p *bdev.Properties) { p.BlockSize = 1000 },
		"no blocks":      func(p *bdev.Properties) { p.BlockCount = 0 },
		"too many":       func(p *bdev.Properties) { p.BlockCount = 1 << 62 },
		"alignment":      func(p *bdev.Properties) { p.BufferAlign = 3 },
		"transfer":       func(p *bdev.Properties) { p.MaxTransfer = 700 },
		"boundary":       func(p *bdev.Properties) { p.OptimalBoundary = 700 },
		"atomic unit":    func(p *bdev.Properties) { p.AtomicWriteUnit = 700 },
		"queue depth":    func(p *bdev.Properties) { p.QueueDepth = -1 },
		"queues":         func(p *bdev.Properties) { p.MaxQueues = -1 },
		"cache no flush": func(p *bdev.Properties) { p.Native &^= bdev.Ops(bdev.OpFlush) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			change(&f.props)
			_, err := bdev.New("fake:", f, bdev.Options{})
			require.ErrorIs(t, err, bdev.ErrInvalid)
			require.EqualValues(t, 1, f.closed.Load(), "the backend is closed")
		})
	}
	_, err := bdev.New("fake:", newFake(), bdev.Options{Channels: -1})
	require.ErrorIs(t, err, bdev.ErrInvalid)
}

// TestReadOnly wants every operation that writes refused before the backend sees it.
func TestReadOnly(t *testing.T) {
	f := newFake()
	f.props.ReadOnly = true
	d := f.open(t, bdev.Options{})
	p := make([]byte, 512)
	require.NoError(t, d.Read(p, 0))
	require.Len(t, f.requests(), 1)
	for _, err := range []error{d.Write(p, 0), d.Unmap(0, 512), d.WriteZeroes(0, 512), d.Allocate(0, 512), d.Resize(4096)} {
		require.ErrorIs(t, err, bdev.ErrReadOnly)
	}
	c, err := d.OpenChannel()
	require.NoError(t, err)
	w := bdev.GetRequest()
	w.Op, w.Buf = bdev.OpWrite, p
	require.Equal(t, 1, c.Submit([]*bdev.Request{w}))
	require.Equal(t, 1, c.Wait([]*bdev.Request{nil}))
	require.ErrorIs(t, w.Err(), bdev.ErrReadOnly)
	require.NoError(t, c.Close())
	require.Empty(t, f.requests())
}

func TestPolicyNames(t *testing.T) {
	for _, p := range []bdev.Policy{bdev.PolicyAdaptive, bdev.PolicyPoll, bdev.PolicySleep} {
		back, err := bdev.ParsePolicy(p.String())
		require.NoError(t, err)
		require.Equal(t, p, back)
	}
	_, err := bdev.ParsePolicy("fast")
	require.ErrorIs(t, err, bdev.ErrInvalid)
}

func TestOpSets(t *testing.T) {
	s := bdev.Ops(bdev.OpRead, bdev.OpCopy)
	require.True(t, s.Has(bdev.OpCopy) && !s.Has(bdev.OpWrite))
	require.Equal(t, "read, copy", s.String())
	require.Len(t, bdev.AllOps(), 11)
}

// TestCompareAndWriteIsAtomic has goroutines increment a counter in a block that their ranges share.
func TestCompareAndWriteIsAtomic(t *testing.T) {
	f := newFake()
	f.props.Sync = f.props.Native // requests run at the same time
	f.fail = func(r *bdev.Request) error {
		if r.Op == bdev.OpWrite {
			time.Sleep(50 * time.Microsecond) // others compare meanwhile, unless they are kept from it
		}
		return nil
	}
	d := f.open(t, bdev.Options{})
	var wg sync.WaitGroup
	const goroutines, each = 4, 25
	for g := range goroutines {
		wg.Go(func() {
			for range each {
				incrementShared(t, d, int64(g%2)*512)
			}
		})
	}
	wg.Wait()
	got := make([]byte, 512)
	require.NoError(t, d.Read(got, 512))
	require.EqualValues(t, goroutines*each, binary.LittleEndian.Uint64(got))
}

// incrementShared increments the counter at 512 through a range of two blocks from off.
func incrementShared(t *testing.T, d *bdev.Device, off int64) {
	r := bdev.GetRequest()
	defer bdev.PutRequest(r)
	r.Op, r.Offset, r.Expect = bdev.OpCompareAndWrite, off, make([]byte, 1024)
	for {
		if err := d.Read(r.Expect, off); err != nil {
			t.Error(err)
			return
		}
		r.Buf = bytes.Clone(r.Expect)
		counter := r.Buf[512-off:]
		binary.LittleEndian.PutUint64(counter, binary.LittleEndian.Uint64(counter)+1)
		if err := d.Do(r); !errors.Is(err, bdev.ErrMiscompare) {
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}

// TestResetWaits wants a reset to outlast what came before it and hold back what comes after.
func TestResetWaits(t *testing.T) {
	f := newFake()
	g := gatedFlush(f)
	d := f.open(t, bdev.Options{})
	flushed := flushAsync(d, 1)
	<-g.started
	reset := bdev.GetRequest()
	reset.Op = bdev.OpReset
	d.Submit(reset)
	time.Sleep(20 * time.Millisecond)
	require.False(t, reset.Done(), "a flush is under way")
	read := make(chan error, 1)
	go func() { read <- d.Read(make([]byte, 512), 0) }()
	select {
	case <-read:
		t.Fatal("a request passed a reset")
	case <-time.After(20 * time.Millisecond):
	}
	g.pass <- nil
	require.NoError(t, <-flushed)
	require.NoError(t, d.Wait(reset))
	require.NoError(t, <-read)
}

// TestUnattendedRequestsKeepToThemselves submits requests that nobody waits for yet beside others that somebody does, and
// looks which queue they went to.
func TestUnattendedRequestsKeepToThemselves(t *testing.T) {
	f := newFake()
	d := f.open(t, bdev.Options{Channels: 3})
	for range 10 {
		later, now := bdev.GetRequest(), bdev.GetRequest()
		for _, r := range []*bdev.Request{later, now} {
			r.Op, r.Buf, r.Attended = bdev.OpRead, make([]byte, 512), r == now
			d.Submit(r)
		}
		require.NoError(t, d.Read(make([]byte, 512), 0))
		for _, r := range []*bdev.Request{later, now} {
			require.NoError(t, d.Wait(r))
			bdev.PutRequest(r)
		}
	}
	require.EqualValues(t, 20, f.opened[0].taken.Load()+f.opened[1].taken.Load())
	require.EqualValues(t, 10, f.opened[2].taken.Load())
}

// TestChannelsByDefault leaves queues to private channels where a device has few.
func TestChannelsByDefault(t *testing.T) {
	for most, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2} {
		f := newFake()
		f.props.MaxQueues = most
		f.open(t, bdev.Options{})
		require.Len(t, f.opened, want, "of %d", most)
	}
}
