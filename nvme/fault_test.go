package nvme_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

const (
	ioTimeout    = 2 * time.Second
	abortTimeout = time.Second
	readyTimeout = 2500 * time.Millisecond // CAP.TO of softctrl plus one unit
)

func faultRig(t *testing.T, s setup) *rig {
	s.o.IOTimeout, s.o.AbortTimeout, s.o.AdminTimeout = ioTimeout, abortTimeout, time.Second
	return newRig(t, s)
}

// start submits reads and leaves them outstanding.
func (r *rig) start(n int, op nvme.Op) []*nvme.Request {
	reqs := make([]*nvme.Request, n)
	for i := range reqs {
		reqs[i] = &nvme.Request{Op: op, NS: r.ns, LBA: uint64(i), Buf: r.buf(blockSize, nil), Tag: i}
	}
	require.Equal(r.t, n, r.q.Submit(reqs))
	return reqs
}

// finish polls until all requests came back, once each.
func (r *rig) finish(reqs []*nvme.Request) {
	r.t.Helper()
	back := map[*nvme.Request]bool{}
	r.settle("requests did not come back", func() bool {
		var done [4]*nvme.Request
		for _, d := range done[:r.q.Poll(done[:])] {
			require.False(r.t, back[d], "a request came back twice")
			back[d] = true
		}
		return len(back) == len(reqs)
	})
	for _, req := range reqs {
		require.True(r.t, back[req])
	}
	require.Zero(r.t, r.q.Outstanding())
}

// works shows that the controller is usable.
func (r *rig) works() {
	r.t.Helper()
	rng := newRand(r.t)
	r.used = rigMemory / 2
	w := r.buf(9*blockSize, rng)
	r.write(99, w)
	require.Equal(r.t, w, r.read(99, r.buf(9*blockSize, nil)))
}

func TestStatusOfCommand(t *testing.T) {
	r := faultRig(t, setup{})
	b := r.buf(blockSize, nil)
	for st, want := range map[spec.Status]error{
		spec.StatusUnrecoveredRead: nvme.ErrMedia, spec.StatusGuardCheck: nvme.ErrProtection,
		spec.StatusInternalError | spec.StatusDNR: nil, spec.StatusNamespaceNotReady | spec.StatusDNR: nvme.ErrNotReady,
	} {
		r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.FailWith, Status: st})
		err := r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: 8, Buf: b})
		var status *nvme.StatusError
		require.ErrorAs(t, err, &status)
		require.Equal(t, st.Code(), status.Status.Code())
		require.EqualValues(t, 8, status.LBA)
		if want != nil {
			require.ErrorIs(t, err, want)
		}
		require.Zero(t, r.q.Stats().Retries, "none of these passes")
	}
}

func TestRetries(t *testing.T) {
	r := faultRig(t, setup{})
	b := r.buf(blockSize, nil)
	fault := softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.FailWith, Status: spec.StatusNamespaceNotReady, Times: 3}
	r.soft.Inject(fault)
	r.read(0, b)
	require.EqualValues(t, 3, r.q.Stats().Retries)

	fault.Times = -1
	r.soft.Inject(fault)
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: b}), nvme.ErrNotReady)
	require.EqualValues(t, 3+4, r.q.Stats().Retries, "bounded")
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: b, Flags: nvme.FlagNoRetry}), nvme.ErrNotReady)
	require.EqualValues(t, 3+4, r.q.Stats().Retries)

	r.soft.ClearFaults()
	fault.Times, fault.Status = 1, fault.Status|2<<11 // CRD 2 is 200 ms here
	r.soft.Inject(fault)
	start := r.clock.Now()
	r.read(0, b)
	require.GreaterOrEqual(t, r.clock.Now()-start, 200*time.Millisecond)
	require.Less(t, r.clock.Now()-start, time.Second)
}

// TestRetryByStatus: of all status values only those whose cause passes are tried again, and none that says not to.
func TestRetryByStatus(t *testing.T) {
	passing := map[spec.Status]bool{ // base 2.0, figures 95 to 98, in numbers
		0x004: true, 0x021: true, 0x022: true, 0x024: true, 0x082: true, 0x084: true, 0x300: true, 0x303: true, 0x360: true,
	}
	r := faultRig(t, setup{})
	b := r.buf(blockSize, nil)
	for st := spec.Status(1); st < 0x800; st++ {
		for _, dnr := range []spec.Status{0, spec.StatusDNR} {
			before := r.q.Stats().Retries
			r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.FailWith, Status: st | dnr})
			err := r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: b})
			again := passing[st] && dnr == 0
			require.Equal(t, again, err == nil, "%v", st|dnr)
			require.Equal(t, again, r.q.Stats().Retries > before, "%v", st|dnr)
		}
	}
}

// TestHang: a command that the controller does not carry out is aborted.
func TestHang(t *testing.T) {
	r := faultRig(t, setup{})
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Hang})
	r.within(ioTimeout+abortTimeout, func() {
		err := r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: r.buf(blockSize, nil)})
		require.ErrorIs(t, err, nvme.ErrTimeout)
		require.ErrorIs(t, err, nvme.ErrAborted)
	})
	require.Zero(t, r.c.Resets(), "the abort was enough")
	require.EqualValues(t, 1, r.q.Stats().Timeouts)
	r.works()
}

// TestManyHang: more commands than the controller aborts at a time.
func TestManyHang(t *testing.T) {
	r := faultRig(t, setup{cfg: softctrl.Config{Aborts: 1}})
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Hang, Times: 20})
	reqs := r.start(30, nvme.OpRead)
	r.within(ioTimeout+2*abortTimeout, func() { r.finish(reqs) })
	for i, req := range reqs {
		if i < 20 {
			require.ErrorIs(t, req.Err, nvme.ErrTimeout)
		} else {
			require.NoError(t, req.Err)
		}
	}
	r.works()
}

// TestLostCompletion: an abort does not help, a reset does.
func TestLostCompletion(t *testing.T) {
	r := faultRig(t, setup{})
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: softctrl.Lose})
	reqs := r.start(5, nvme.OpWrite)
	r.within(ioTimeout+abortTimeout+readyTimeout, func() { r.finish(reqs) })
	require.ErrorIs(t, reqs[0].Err, nvme.ErrTimeout)
	for _, req := range reqs[1:] {
		require.NoError(t, req.Err)
	}
	r.settle("no reset", func() bool { return r.saw(nvme.EventReset) })
	require.EqualValues(t, 1, r.c.Resets())
	r.works()
}

func TestSlow(t *testing.T) {
	r := faultRig(t, setup{})
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Slow, Delay: ioTimeout / 2})
	start := r.clock.Now()
	r.read(0, r.buf(blockSize, nil))
	require.GreaterOrEqual(t, r.clock.Now()-start, ioTimeout/2)
	require.Zero(t, r.q.Stats().Timeouts)
}

// TestTwice: the second completion of a command is found to be wrong even when its tracker is in use again.
func TestTwice(t *testing.T) {
	for _, do := range []softctrl.Action{softctrl.Twice, softctrl.WrongID} {
		r := faultRig(t, setup{o: nvme.Options{Depth: 4}})
		r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: do, Skip: 1})
		reqs := r.start(3, nvme.OpRead)
		r.within(ioTimeout+abortTimeout+readyTimeout, func() { r.finish(reqs) })
		for _, req := range reqs {
			require.NoError(t, req.Err, "a reset sent again what was lost")
		}
		r.settle("no reset", func() bool { return r.saw(nvme.EventReset) })
		require.EqualValues(t, 1, r.q.Stats().Violations)
		require.EqualValues(t, 1, r.c.Resets(), "a controller that makes answers up is reset")
		r.works()
	}
}

// TestTwiceReused: the second completion comes when the tracker carries another command already, which it must not end.
func TestTwiceReused(t *testing.T) {
	r := faultRig(t, setup{o: nvme.Options{Depth: 2}}) // one tracker
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Twice})
	first := r.start(1, nvme.OpRead)
	var done [1]*nvme.Request
	require.Equal(t, 1, r.q.Poll(done[:]))
	require.Same(t, first[0], done[0])
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: softctrl.Slow, Delay: ioTimeout})
	second := r.start(1, nvme.OpWrite)
	require.Zero(t, r.q.Poll(done[:]), "the write is not done")
	require.EqualValues(t, 1, r.q.Stats().Violations)
	r.finish(second)
	require.NoError(t, second[0].Err)
	r.works()
}

func TestFatalStatus(t *testing.T) {
	r := faultRig(t, setup{})
	r.soft.Inject(softctrl.Fault{Opcode: softctrl.AnyOpcode, Do: softctrl.Hang, Times: 8})
	reqs := r.start(8, nvme.OpWrite)
	r.soft.SetFatal()
	r.within(100*time.Millisecond+readyTimeout, func() { r.finish(reqs) })
	for _, req := range reqs {
		require.NoError(t, req.Err, "writes may be sent again")
	}
	require.EqualValues(t, 1, r.c.Resets())
	r.works()
}

// TestResetFails: the controller does not stop, or does not start again; the transport cannot reset it.
func TestResetFails(t *testing.T) {
	for _, stuck := range []softctrl.Stuck{softctrl.StuckDisabled, softctrl.StuckEnabled} {
		r := faultRig(t, setup{tr: softctrl.TransportOptions{NoReset: true}})
		r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Hang})
		reqs := r.start(2, nvme.OpRead)
		r.soft.SetStuck(stuck)
		r.within(2*readyTimeout, func() { require.ErrorIs(t, r.c.Reset(), nvme.ErrFailed) })
		require.ErrorIs(t, r.c.Poll(), nvme.ErrTimeout)
		require.True(t, r.saw(nvme.EventFailed))
		r.finish(reqs)
		require.ErrorIs(t, reqs[0].Err, nvme.ErrFailed)
		require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: r.buf(blockSize, nil)}), nvme.ErrFailed)
		_, err := r.c.SMART(spec.BroadcastNSID)
		require.ErrorIs(t, err, nvme.ErrFailed)

		r.soft.SetStuck(softctrl.NotStuck)
		require.NoError(t, r.c.Reset(), "it can be tried again")
		r.works()
	}
}

// TestFunctionReset: what a controller reset does not cure, one of the whole function does.
func TestFunctionReset(t *testing.T) {
	r := faultRig(t, setup{})
	r.soft.SetStuck(softctrl.StuckEnabled)
	r.within(2*readyTimeout, func() { require.NoError(t, r.c.Reset()) })
	r.works()
}

func TestRemoval(t *testing.T) {
	r := faultRig(t, setup{})
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Hang, Times: 4})
	reqs := r.start(4, nvme.OpRead)
	r.soft.Remove()
	r.within(100*time.Millisecond, func() { r.finish(reqs) })
	for _, req := range reqs {
		require.ErrorIs(t, req.Err, nvme.ErrGone)
	}
	require.ErrorIs(t, r.c.Poll(), nvme.ErrGone)
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, Buf: r.mem[:blockSize]}), nvme.ErrGone)
	_, err := r.c.Feature(spec.FeatTemperature, 0, 0, nil)
	require.ErrorIs(t, err, nvme.ErrGone)
	_, err = r.c.OpenQueue(nvme.QueueOptions{})
	require.ErrorIs(t, err, nvme.ErrGone)
	require.ErrorIs(t, r.c.Reset(), nvme.ErrGone)
	require.NoError(t, r.q.Close())
}

// TestRemovalDuringWait: somebody waits for an admin command when the controller leaves.
func TestRemovalDuringWait(t *testing.T) {
	r := faultRig(t, setup{})
	r.soft.Inject(softctrl.Fault{Admin: true, Opcode: spec.AdminGetLogPage, Do: softctrl.CutPower})
	r.within(time.Second, func() {
		_, err := r.c.SMART(spec.BroadcastNSID)
		require.ErrorIs(t, err, nvme.ErrGone)
	})
}

func TestAdminTimeout(t *testing.T) {
	r := faultRig(t, setup{})
	for _, do := range []softctrl.Action{softctrl.Hang, softctrl.Lose} {
		before := r.c.Resets()
		r.soft.Inject(softctrl.Fault{Admin: true, Opcode: spec.AdminGetLogPage, Do: do})
		r.within(time.Second+readyTimeout, func() {
			_, err := r.c.SMART(spec.BroadcastNSID)
			require.ErrorIs(t, err, nvme.ErrReset)
		})
		require.EqualValues(t, before+1, r.c.Resets())
	}
	r.works()
}

// countingClock counts who waits.
type countingClock struct {
	fakeClock
	sleeps atomic.Int64
}

func (c *countingClock) Sleep(d time.Duration) {
	c.sleeps.Add(1)
	c.fakeClock.Sleep(d)
	runtime.Gosched()
}

// TestManyCallers: more admin commands at a time than the admin queue holds wait for each other, and leave the driver room.
func TestManyCallers(t *testing.T) {
	const callers, ring = 60, 32
	clock := &countingClock{} // the driver's; that of the controller stands still until the test lets it pass
	r := newRig(t, setup{o: nvme.Options{AdminTimeout: 1000 * time.Hour, Clock: clock}})
	r.soft.Inject(softctrl.Fault{Admin: true, Opcode: spec.AdminGetFeatures, Do: softctrl.Slow, Delay: time.Hour, Times: callers})
	errs := make(chan error, callers)
	for range callers {
		go func() {
			_, err := r.c.Feature(spec.FeatTemperature, 0, 0, nil)
			errs <- err
		}()
	}
	for tried := clock.sleeps.Load() + 100*callers; clock.sleeps.Load() < tried || r.soft.Deferred() < ring/2; {
		runtime.Gosched()
	}
	require.Equal(t, ring/2, r.soft.Deferred())
	require.NoError(t, r.soft.Resize(1, 100))
	r.settle("no scan", func() bool { return r.saw(nvme.EventNamespaceChanged) })
	for len(errs) < callers {
		r.clock.Sleep(time.Hour)
		runtime.Gosched()
	}
	for range callers {
		require.NoError(t, <-errs)
	}
	require.Zero(t, r.c.Resets())
}

// TestResetUnderLoad: outstanding commands of every kind are sent again or fail, none is forgotten.
func TestResetUnderLoad(t *testing.T) {
	r := faultRig(t, setup{cfg: softctrl.Config{AtomicBlocks: 1, Shadow: true, MDTS: 1}})
	second, err := r.c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	r.soft.Inject(softctrl.Fault{Opcode: softctrl.AnyOpcode, Do: softctrl.Hang, Times: 40})
	buf := r.buf(200*blockSize, nil)
	reqs := []*nvme.Request{
		{Op: nvme.OpWrite, NS: r.ns, Buf: buf}, // in pieces
		{Op: nvme.OpFlush, NS: r.ns},
		{Op: nvme.OpWriteZeroes, NS: r.ns, LBA: 300, Blocks: 9},
		{Op: nvme.OpDeallocate, NS: r.ns, LBA: 400, Blocks: 9},
		{Op: nvme.OpCompareAndWrite, NS: r.ns, LBA: 1, Buf: buf[:blockSize], Data: buf[blockSize : 2*blockSize]},
		{Op: nvme.OpCopy, NS: r.ns, LBA: 1, Ranges: []nvme.Range{{LBA: 9, Blocks: 1}}},
		{Op: nvme.OpRaw, NS: r.ns, Raw: spec.Command{Opcode: spec.CmdFlush, NSID: 1}},
		{Op: nvme.OpRead, NS: r.ns, Buf: buf[:blockSize], Flags: nvme.FlagNoRetry},
	}
	require.Equal(t, len(reqs), r.q.Submit(reqs))
	other := &nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: r.buf(blockSize, nil)}
	require.Equal(t, 1, second.Submit([]*nvme.Request{other}))
	r.soft.ClearFaults()
	require.NoError(t, r.c.Reset())
	r.finish(reqs)
	for i, req := range reqs {
		if i < 4 {
			require.NoError(t, req.Err, req.Op)
		} else {
			require.ErrorIs(t, req.Err, nvme.ErrReset, req.Op)
		}
	}
	require.NoError(t, second.Do(&nvme.Request{Op: nvme.OpFlush, NS: r.ns}))
	var done [2]*nvme.Request
	require.Equal(t, 1, second.Poll(done[:]), "Do kept it")
	require.NoError(t, other.Err)
	require.NoError(t, second.Close())
	r.works()
}

// TestResetStorm: a controller that loses everything ends in an error, not in resets without end.
func TestResetStorm(t *testing.T) {
	r := faultRig(t, setup{})
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.WrongID, Times: -1})
	err := r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: r.buf(blockSize, nil)})
	require.ErrorIs(t, err, nvme.ErrReset)
	require.LessOrEqual(t, r.c.Resets(), uint64(5))
	r.soft.ClearFaults()
	r.works()
}

// TestLosesMind: the controller is reset by somebody else.
func TestLosesMind(t *testing.T) {
	r := faultRig(t, setup{})
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Hang})
	reqs := r.start(1, nvme.OpRead)
	require.NoError(t, r.tr.Reset())
	r.finish(reqs)
	require.NoError(t, reqs[0].Err)
	r.works()
}

// fullStorage has no room for changes.
type fullStorage struct{ *softctrl.RAM }

func (fullStorage) WriteAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("write: %w", softctrl.ErrNoSpace)
}
func (fullStorage) Discard(_, _ int64) error { return fmt.Errorf("discard: %w", softctrl.ErrNoSpace) }

// TestFullStorage: a host learns that there is no room, which is no fault of the media.
func TestFullStorage(t *testing.T) {
	for _, meta := range []int{0, 8} {
		ns := softctrl.NamespaceConfig{BlockSize: 512, MetaSize: meta, Extended: true, Storage: fullStorage{ram(t, 1<<20, false)}}
		r := newRig(t, setup{cfg: softctrl.Config{Namespaces: []softctrl.NamespaceConfig{ns}}})
		require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, Buf: r.buf(512+meta, nil)}), nvme.ErrNoSpace)
		require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpWriteZeroes, NS: r.ns, Blocks: 1}), nvme.ErrNoSpace)
		r.read(0, r.buf(512+meta, nil))
	}
}
