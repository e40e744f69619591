package bdev

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wakeful is a sleeper that never sleeps.
type wakeful struct{}

func (wakeful) Wait(time.Duration) {}

// TestYieldsInTurn counts on one processor how often another goroutine gets it, from a pacer that believes in two. The
// scheduler by itself takes the processor away every 10 ms.
func TestYieldsInTurn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const length = 100 * time.Millisecond
	for _, policy := range []Policy{PolicySleep, PolicyPoll} {
		var turns atomic.Int64
		var stop atomic.Bool
		var other sync.WaitGroup
		other.Go(func() {
			for !stop.Load() {
				turns.Add(1)
				runtime.Gosched()
			}
		})
		p, begin := pacer{q: wakeful{}, policy: policy}, monotonic()
		for monotonic()-begin < length {
			p.polled(0)
		}
		got, took := turns.Load(), monotonic()-begin
		stop.Store(true)
		other.Wait()
		require.LessOrEqual(t, got, 2+2*int64(took/turnTime), "%s: yields in %s", policy, took)
		require.Greater(t, got, 2+int64(length/(10*time.Millisecond)), "%s: yields in %s", policy, took)
	}
}

// countingSleeper counts sleeps.
type countingSleeper struct{ n int }

func (s *countingSleeper) Wait(time.Duration) { s.n++ }

// TestAdaptiveSpinsForEverySecondRead waits for reads and writes that take a while, and counts the waits that slept.
func TestAdaptiveSpinsForEverySecondRead(t *testing.T) {
	for op, want := range map[Op]int{OpRead: 10, OpWrite: 0} {
		var s countingSleeper
		p := pacer{q: &s, policy: PolicyAdaptive}
		for range 20 {
			slept := s.n
			p.start(200*time.Microsecond, op)
			for range 2 * spinsPerLook { // far less than the budget
				if p.polled(0); s.n > slept {
					break
				}
			}
			p.polled(1)
		}
		require.Equal(t, want, s.n, "%v", op)
	}
}
