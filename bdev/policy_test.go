package bdev

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wakeful is a sleeper that never sleeps.
type wakeful struct{}

func (wakeful) Wait(time.Duration) {}

// TestYieldsInTurn counts the yields of pacers that poll in vain for a while, by a clock that each look moves on.
func TestYieldsInTurn(t *testing.T) {
	for _, policy := range []Policy{PolicySleep, PolicyPoll} {
		yields, now := 0, time.Duration(0)
		p := newPacer(wakeful{}, policy)
		p.yield = func() { yields++ }
		p.now = func() time.Duration { now += 10 * time.Microsecond; return now }
		for now < 100*turnTime {
			p.polled(0)
		}
		require.InDelta(t, 100, yields, 2, "%v", policy)
	}
}

// countingSleeper counts sleeps.
type countingSleeper struct{ n int }

func (s *countingSleeper) Wait(time.Duration) { s.n++ }

// TestAdaptiveSpinsForEverySecondRead waits for reads and writes that take a while, and counts the waits that slept.
func TestAdaptiveSpinsForEverySecondRead(t *testing.T) {
	for op, want := range map[Op]int{OpRead: 10, OpWrite: 0} {
		var s countingSleeper
		p := newPacer(&s, PolicyAdaptive)
		now := time.Duration(0)
		p.now = func() time.Duration { now += time.Microsecond; return now }
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

// TestAdaptiveSleepsSeldomWhereThatIsSlow waits for reads that take an adaptive poller much longer when it sleeps, as on a
// machine whose processors are busy, and then for others that do not.
func TestAdaptiveSleepsSeldomWhereThatIsSlow(t *testing.T) {
	now, awake, asleep := time.Duration(0), 80*time.Microsecond, time.Millisecond
	p := newPacer(wakeful{}, PolicyAdaptive)
	p.now = func() time.Duration { return now }
	slept := func(reads int) (n int) {
		for range reads {
			p.start(awake, OpRead)
			if p.rest {
				n++
				now += asleep
			} else {
				now += awake
			}
			p.end()
		}
		return n
	}
	slept(100)
	require.Equal(t, 1000/restSeldom, slept(1000-1000%restSeldom))
	asleep = awake + 15*time.Microsecond
	slept(100 * restSeldom)
	require.Equal(t, 50, slept(100))
}

// TestMovingMean: a value out of the ordinary counts little, and a lasting change is followed.
func TestMovingMean(t *testing.T) {
	require.Equal(t, 80*time.Microsecond, movingMean(0, 80*time.Microsecond))
	require.Less(t, movingMean(80*time.Microsecond, time.Second), 120*time.Microsecond)
	mean := 80 * time.Microsecond
	for range 100 {
		mean = movingMean(mean, time.Millisecond)
	}
	require.InDelta(t, time.Millisecond, mean, float64(10*time.Microsecond))
}
