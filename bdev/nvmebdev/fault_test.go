package nvmebdev

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

func block(v byte) []byte {
	p := make([]byte, 4096)
	for i := range p {
		p[i] = v
	}
	return p
}

func TestStatusBecomesSentinel(t *testing.T) {
	r := newRig(t, softctrl.Config{}, fast())
	for status, want := range map[spec.Status]error{
		spec.StatusUnrecoveredRead:  bdev.ErrIO,
		spec.StatusWriteProtected:   bdev.ErrReadOnly,
		spec.StatusLBAOutOfRange:    bdev.ErrOutOfRange,
		spec.StatusCapacityExceeded: bdev.ErrNoSpace,
		spec.StatusGuardCheck:       bdev.ErrIO,
	} {
		r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.FailWith, Status: status | spec.StatusDNR})
		err := r.d.Read(block(0), 8192)
		require.ErrorIs(t, err, want, "%v", status)
		var e *bdev.Error
		require.ErrorAs(t, err, &e)
		require.EqualValues(t, 8192, e.Offset)
		var s *nvme.StatusError
		require.ErrorAs(t, err, &s)
		require.NoError(t, r.d.Read(block(0), 8192), "after %v", status)
	}
}

// TestFailedFlushIsCounted is what the layers above rely on.
func TestFailedFlushIsCounted(t *testing.T) {
	r := newRig(t, softctrl.Config{WriteCache: true}, fast())
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdFlush, Do: softctrl.FailWith, Status: spec.StatusWriteFault | spec.StatusDNR})
	require.ErrorIs(t, r.d.Flush(), bdev.ErrIO)
	n, err := r.d.FlushFailures()
	require.EqualValues(t, 1, n)
	require.ErrorIs(t, err, nvme.ErrMedia)
	require.NoError(t, r.d.Flush())
}

// TestLostCompletion wants a request whose completion never comes to be done all the same, whoever waits for it.
func TestLostCompletion(t *testing.T) {
	for _, policy := range []bdev.Policy{bdev.PolicyAdaptive, bdev.PolicyPoll, bdev.PolicySleep} {
		for _, do := range []softctrl.Action{softctrl.Lose, softctrl.Hang} {
			c := fast()
			c.Policy = policy
			r := newRig(t, softctrl.Config{}, c)
			require.NoError(t, r.d.Write(block(1), 0))
			r.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: do})
			err := r.d.Write(block(2), 0)
			require.ErrorIs(t, err, bdev.ErrIO)
			require.ErrorIs(t, err, nvme.ErrTimeout)
			require.Equal(t, do == softctrl.Lose, r.b.o.ctrl.Resets() > 0, "an abort ends what hangs, a reset what was lost")
			require.NoError(t, r.d.Write(block(3), 0))
			got := block(0)
			require.NoError(t, r.d.Read(got, 0))
			require.Equal(t, block(3), got)
		}
	}
}

// TestProtocolViolation has the controller complete what it was not asked.
func TestProtocolViolation(t *testing.T) {
	for _, do := range []softctrl.Action{softctrl.WrongID, softctrl.Twice} {
		r := newRig(t, softctrl.Config{}, fast())
		r.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: do})
		require.NoError(t, r.d.Write(block(5), 4096), "the reset that follows sends it again")
		got := block(0)
		require.NoError(t, r.d.Read(got, 4096))
		require.Equal(t, block(5), got)
	}
}

// TestRemovalUnderLoad pulls the controller out while goroutines use it on shared and private queues: every request ends,
// with bdev.ErrGone, and closing works.
func TestRemovalUnderLoad(t *testing.T) {
	r := newRig(t, softctrl.Config{}, fast())
	var wg sync.WaitGroup
	var warm sync.WaitGroup
	for i := range 4 {
		warm.Add(1)
		wg.Go(func() {
			p := block(byte(i))
			for n := 0; ; n++ {
				err := r.d.Write(p, int64(n%100)*4096)
				if n == 20 {
					warm.Done()
				}
				if err != nil {
					if !errors.Is(err, bdev.ErrGone) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	c, err := r.d.OpenChannel()
	require.NoError(t, err)
	warm.Wait()
	r.soft.Remove()
	p := dmabuf.Default.Get(4096)
	req := bdev.GetRequest()
	req.Op, req.Buf = bdev.OpRead, p
	var done [1]*bdev.Request
	for c.Submit([]*bdev.Request{req}) == 0 {
		c.Poll(done[:])
	}
	require.Equal(t, 1, c.Wait(done[:]))
	require.ErrorIs(t, done[0].Err(), bdev.ErrGone)
	bdev.PutRequest(req)
	dmabuf.Default.Put(p)
	require.NoError(t, c.Close())
	wg.Wait()
	require.ErrorIs(t, r.d.Flush(), nil, "no cache, nothing to flush")
	require.ErrorIs(t, r.d.Write(block(0), 0), bdev.ErrGone)
}

// TestResetUnderLoad resets the controller again and again while goroutines write and check what they wrote.
func TestResetUnderLoad(t *testing.T) {
	r := newRig(t, softctrl.Config{}, Config{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			got := make([]byte, 4096)
			for n := byte(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				want := block(n + byte(i))
				if err := errors.Join(r.d.Write(want, int64(i)*4096), r.d.Read(got, int64(i)*4096)); err != nil {
					t.Error(err)
					return
				}
				if string(got) != string(want) {
					t.Error("a write was lost")
					return
				}
			}
		})
	}
	for range 5 {
		reset := bdev.GetRequest()
		reset.Op = bdev.OpReset
		require.NoError(t, r.d.Do(reset))
		bdev.PutRequest(reset)
		require.NoError(t, r.b.o.ctrl.Reset(), "with requests under way")
	}
	close(stop)
	wg.Wait()
	require.GreaterOrEqual(t, r.b.o.ctrl.Resets(), uint64(10))
}

// TestDeadController never becomes ready again after a reset.
func TestDeadController(t *testing.T) {
	r := newRigOn(t, softctrl.Config{ReadyTimeout: 1}, softctrl.TransportOptions{NoReset: true}, fast())
	c, err := r.d.OpenChannel()
	require.NoError(t, err)
	r.soft.SetStuck(softctrl.StuckDisabled)
	r.soft.Inject(softctrl.Fault{Opcode: softctrl.AnyOpcode, Do: softctrl.Lose, Times: -1})
	var wg sync.WaitGroup
	for i := range 4 { // some of them before it is known, some afterwards
		wg.Go(func() {
			for range 3 {
				if err := r.d.Write(block(1), int64(i)*4096); !errors.Is(err, bdev.ErrIO) {
					t.Errorf("of a dead controller: %v", err)
				}
			}
		})
	}
	wg.Wait()
	require.ErrorIs(t, r.d.Read(block(0), 0), nvme.ErrFailed)
	_, err = r.d.Health()
	require.ErrorIs(t, err, nvme.ErrFailed)
	require.NoError(t, c.Close())
}

// TestPowerFail cuts the power in the middle of writes: what a flush covered is there afterwards, and each block is old or
// new in each atomic unit.
func TestPowerFail(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		r := newRig(t, softctrl.Config{WriteCache: true}, fast())
		unit := r.d.Properties().AtomicWriteUnit
		blocks := 1 + rng.IntN(64)
		for i := range blocks {
			require.NoError(t, r.d.Write(block(1), int64(i)*4096))
		}
		require.NoError(t, r.d.Flush())
		fua := rng.IntN(blocks)
		w := bdev.GetRequest()
		w.Op, w.FUA, w.Offset, w.Buf = bdev.OpWrite, true, int64(fua)*4096, block(2)
		require.NoError(t, r.d.Do(w))
		bdev.PutRequest(w)
		for i := range blocks {
			if i != fua {
				require.NoError(t, r.d.Write(block(3), int64(i)*4096))
			}
		}
		r.soft.PowerFail(rng)
		require.ErrorIs(t, r.d.Write(block(4), 0), bdev.ErrGone)
		require.ErrorIs(t, r.d.Flush(), bdev.ErrGone)
		require.NoError(t, r.d.Close())

		again := newRig(t, softctrl.Config{WriteCache: true, Namespaces: []softctrl.NamespaceConfig{{BlockSize: 4096, Storage: r.ram}}}, fast())
		got := make([]byte, 4096)
		for i := range blocks {
			require.NoError(t, again.d.Read(got, int64(i)*4096))
			for at := 0; at < len(got); at += min(unit, 512) {
				v := got[at]
				if i == fua {
					require.EqualValues(t, 2, v, "a write with FUA was lost")
				} else {
					require.Contains(t, []byte{1, 3}, v, "neither flushed nor new")
				}
			}
		}
		require.NoError(t, again.d.Close())
	}
}
