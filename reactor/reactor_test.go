package reactor_test

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/reactor"
	"github.com/blobkv/blobkv/reactor/reactortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a reactor for the length of the test.
func start(t testing.TB, mode reactor.Mode) *reactor.Reactor {
	t.Helper()
	r, err := reactor.Start(reactor.Options{Name: t.Name(), Mode: mode})
	require.NoError(t, err)
	t.Cleanup(r.Stop)
	return r
}

// call runs fn on the reactor and waits for it.
func call(t testing.TB, r *reactor.Reactor, fn func()) {
	t.Helper()
	done := make(chan struct{})
	require.True(t, r.Send(func() { fn(); close(done) }))
	<-done
}

var modes = map[string]reactor.Mode{"adaptive": reactor.Adaptive, "poll": reactor.Poll, "sleep": reactor.Sleep}

func forEachMode(t *testing.T, test func(t *testing.T, r *reactor.Reactor)) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) { test(t, start(t, mode)) })
	}
}

func TestMessagesRunInOrderOnOneGoroutine(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *reactor.Reactor) {
		const senders, each = 4, 2000
		var got [senders][]int // written on the reactor only: the race detector proves it
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					r.Send(func() { got[s] = append(got[s], i) })
				}
			})
		}
		wg.Wait()
		r.Stop()
		for s := range senders {
			require.Len(t, got[s], each)
			require.True(t, slices.IsSorted(got[s]))
		}
		require.EqualValues(t, senders*each, r.Stats().Messages)
	})
}

func TestMessagesOneAtATime(t *testing.T) {
	// Each message finds the reactor asleep or about to sleep: a lost wake-up hangs.
	forEachMode(t, func(t *testing.T, r *reactor.Reactor) {
		for i := range 500 {
			if i%50 == 0 {
				time.Sleep(time.Millisecond)
			}
			call(t, r, func() {})
		}
	})
}

func TestOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	forEachMode(t, func(t *testing.T, r *reactor.Reactor) {
		for range 50 {
			call(t, r, func() {})
		}
	})
}

func TestStop(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *reactor.Reactor) {
		var ran, polls atomic.Int64
		p := r.Register("p", func() bool { polls.Add(1); return false })
		accepted := 0
		var wg sync.WaitGroup
		wg.Go(func() {
			for r.Send(func() { ran.Add(1) }) {
				accepted++
			}
		})
		for polls.Load() == 0 {
			runtime.Gosched()
		}
		r.Stop()
		after := polls.Load()
		wg.Wait()
		require.EqualValues(t, accepted, ran.Load(), "every accepted message runs")
		require.Equal(t, after, polls.Load(), "no callback after Stop")
		require.False(t, p.Armed())
		p.Unregister()
		r.Stop()

		late := r.Register("late", func() bool { polls.Add(1); return false })
		late.Arm()
		late.Unregister()
		require.Equal(t, after, polls.Load())
	})
}

func TestStopFromCallback(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *reactor.Reactor) {
		ran := false
		require.True(t, r.Send(r.Stop))
		accepted := r.Send(func() { ran = true })
		r.Stop()
		require.Equal(t, accepted, ran)
	})
}

func TestUnregisterWaits(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *reactor.Reactor) {
		for range 200 {
			var gone atomic.Bool
			var late atomic.Int64
			entered := make(chan struct{}, 1)
			p := r.Register("p", func() bool {
				select {
				case entered <- struct{}{}:
				default:
				}
				runtime.Gosched()
				if gone.Load() {
					late.Add(1)
				}
				return true
			})
			<-entered
			p.Unregister()
			gone.Store(true)
			p.Arm()
			call(t, r, func() {})
			require.Zero(t, late.Load())
		}
		require.Empty(t, r.Stats().Pollers)
	})
}

func TestUnregisterFromCallbacks(t *testing.T) {
	sim := reactortest.New(t)
	r := sim.Reactor("r")
	var self, other *reactor.Poller
	runs := 0
	self = r.Register("self", func() bool {
		runs++
		self.Unregister()
		other.Unregister()
		return true
	})
	otherRan := false
	other = r.Register("other", func() bool { otherRan = true; return true })
	sim.Settle()
	require.Equal(t, 1, runs)
	require.False(t, otherRan, "unregistered before its turn in the same pass")
	require.Empty(t, r.Stats().Pollers)
}

func TestRegisterFromCallback(t *testing.T) {
	sim := reactortest.New(t)
	r := sim.Reactor("r")
	runs := 0
	r.Send(func() {
		var p *reactor.Poller
		p = r.Register("p", func() bool { runs++; p.Disarm(); return true })
	})
	sim.Settle()
	require.Equal(t, 1, runs)
}

func TestArmAndDisarm(t *testing.T) {
	sim := reactortest.New(t)
	r := sim.Reactor("r")
	runs := 0
	p := r.RegisterWith(reactor.PollerOptions{Name: "p", Poll: func() bool { runs++; return false }, Disarmed: true})
	r.Step()
	require.Zero(t, runs)
	p.Arm()
	p.Arm()
	r.Step()
	require.Equal(t, 1, runs)
	p.Disarm()
	r.Step()
	require.Equal(t, 1, runs)
	require.Equal(t, reactor.PollerStats{Name: "p", Runs: 1}, r.Stats().Pollers[0])
}

func TestArmWakesSleeper(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *reactor.Reactor) {
		var outstanding atomic.Int64
		done := make(chan struct{}, 1)
		var p *reactor.Poller
		ready := make(chan struct{})
		p = r.RegisterWith(reactor.PollerOptions{Name: "p", Disarmed: true, Poll: func() bool {
			<-ready
			if outstanding.Load() > 0 {
				outstanding.Add(-1)
				done <- struct{}{}
				return true
			}
			p.Disarm()
			if outstanding.Load() > 0 {
				p.Arm()
			}
			return false
		}})
		close(ready)
		for i := range 500 {
			if i%50 == 0 {
				time.Sleep(time.Millisecond)
			}
			outstanding.Add(1)
			p.Arm()
			<-done
		}
	})
}

func TestIdleReactorMakesNoPasses(t *testing.T) {
	for _, mode := range []reactor.Mode{reactor.Adaptive, reactor.Sleep} {
		r := start(t, mode)
		r.RegisterWith(reactor.PollerOptions{Name: "disarmed", Poll: func() bool { return true }, Disarmed: true})
		call(t, r, func() {})
		time.Sleep(20 * time.Millisecond)
		before := r.Stats().Passes
		time.Sleep(50 * time.Millisecond)
		require.Equal(t, before, r.Stats().Passes)
	}
}

func TestArmedIdlePollerSleepsBetweenPolls(t *testing.T) {
	r := start(t, reactor.Adaptive)
	r.Register("idle", func() bool { return false })
	time.Sleep(50 * time.Millisecond)
	r.Stop()
	s := r.Stats()
	require.Positive(t, s.Asleep)
	// 50 ms of polling without a sleep would be hundreds of thousands of passes.
	require.Less(t, s.Passes, uint64(5000))
	require.NotZero(t, s.Passes)
}

func TestWaitReplacesSleep(t *testing.T) {
	r := start(t, reactor.Sleep)
	var waits atomic.Int64
	work := make(chan struct{}, 1)
	got := make(chan struct{})
	r.RegisterWith(reactor.PollerOptions{
		Name: "device",
		Poll: func() bool {
			select {
			case <-work:
				got <- struct{}{}
				return true
			default:
				return false
			}
		},
		Wait: func(limit time.Duration) {
			assert.Positive(t, limit)
			assert.LessOrEqual(t, limit, time.Millisecond)
			waits.Add(1)
			time.Sleep(limit)
		},
	})
	for range 5 {
		work <- struct{}{}
		<-got
		call(t, r, func() {})
	}
	require.NotZero(t, waits.Load())
}

func TestTimers(t *testing.T) {
	sim := reactortest.New(t)
	r := sim.Reactor("r")
	var fired []time.Duration
	every := func(period time.Duration) *reactor.Poller {
		return r.RegisterTimed(period.String(), period, func() bool {
			fired = append(fired, sim.Clock.Now())
			return true
		})
	}
	p := every(10 * time.Millisecond)
	every(25 * time.Millisecond)
	sim.Advance(50 * time.Millisecond)
	ms := time.Millisecond
	require.Equal(t, []time.Duration{10 * ms, 20 * ms, 25 * ms, 30 * ms, 40 * ms, 50 * ms, 50 * ms}, fired)

	fired = nil
	p.Disarm()
	sim.Advance(24 * time.Millisecond) // 74
	require.Empty(t, fired)
	p.Arm() // its period starts anew
	sim.Advance(12 * time.Millisecond)
	require.Equal(t, []time.Duration{75 * ms, 84 * ms}, fired)
}

func TestLateTimerIsNotCaughtUp(t *testing.T) {
	sim := reactortest.New(t)
	r := sim.Reactor("r")
	runs := 0
	r.RegisterTimed("t", time.Millisecond, func() bool { runs++; return true })
	sim.Settle()
	sim.Clock.Advance(time.Second)
	sim.Settle()
	require.Equal(t, 1, runs)
}

func TestTimerWakesSleepingReactor(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *reactor.Reactor) {
		fired := make(chan struct{}, 16)
		r.RegisterTimed("t", time.Millisecond, func() bool {
			select {
			case fired <- struct{}{}:
			default:
			}
			return false
		})
		for range 3 {
			<-fired
		}
	})
}

func TestBusyAndIdleAccounting(t *testing.T) {
	sim := reactortest.New(t)
	r := sim.Reactor("r")
	busy := true
	r.Register("p", func() bool { sim.Clock.Advance(3 * time.Microsecond); return busy })
	r.Step()
	busy = false
	r.Step()
	r.Step()
	s := r.Stats()
	require.Equal(t, 3*time.Microsecond, s.Busy)
	require.Equal(t, 6*time.Microsecond, s.Idle)
	require.Equal(t, uint64(3), s.Passes)
	require.Equal(t, []reactor.PollerStats{{Name: "p", Runs: 3, Busy: 1, Armed: true}}, s.Pollers)
}

func TestOnReactor(t *testing.T) {
	r := start(t, reactor.Adaptive)
	require.False(t, r.OnReactor())
	var on bool
	call(t, r, func() { on = r.OnReactor() })
	require.True(t, on)
}

// TestSimRepeats sends messages between reactors and expects one seed to give one order.
func TestSimRepeats(t *testing.T) {
	run := func(seed uint64) (order []int) {
		sim := reactortest.NewSeeded(t, seed)
		rs := []*reactor.Reactor{sim.Reactor("a"), sim.Reactor("b"), sim.Reactor("c")}
		for i, r := range rs {
			for range 4 {
				r.Send(func() { rs[(i+1)%3].Send(func() { order = append(order, i) }) })
			}
		}
		sim.Settle()
		require.Len(t, order, 12)
		return order
	}
	different := false
	for seed := range uint64(20) {
		order := run(seed)
		require.Equal(t, order, run(seed))
		different = different || !slices.Equal(order, run(seed+1000))
	}
	require.True(t, different, "the seed has no effect")
}

func TestSendAllocatesNothing(t *testing.T) {
	r := start(t, reactor.Adaptive)
	done := make(chan struct{}, 1)
	fn := func() { done <- struct{}{} }
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		r.Send(fn)
		<-done
	}))
}

// BenchmarkPass measures one pass of a polling reactor with one poller.
func BenchmarkPass(b *testing.B) {
	r := start(b, reactor.Poll)
	done := make(chan struct{})
	n := 0
	r.Register("p", func() bool {
		if n++; n == b.N {
			close(done)
		}
		return true
	})
	<-done
}

// BenchmarkRoundTrip measures a message to an adaptive reactor and its answer.
func BenchmarkRoundTrip(b *testing.B) {
	r := start(b, reactor.Adaptive)
	done := make(chan struct{}, 1)
	fn := func() { done <- struct{}{} }
	b.ReportAllocs()
	for b.Loop() {
		r.Send(fn)
		<-done
	}
}
