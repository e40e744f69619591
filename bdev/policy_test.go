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

// medium is a device whose requests take a while, and longer for who sleeps. Its clock moves only while it is waited for.
type medium struct {
	p             pacer
	now           time.Duration
	takes, lateBy time.Duration
	slept         bool
}

func newMedium(takes, lateBy time.Duration) *medium {
	d := &medium{takes: takes, lateBy: lateBy}
	d.p = newPacer(d, PolicyAdaptive)
	d.p.now = func() time.Duration { return d.now }
	return d
}

func (d *medium) Wait(time.Duration) { d.slept = true }

// wait waits for so many requests, polling once in a microsecond, and returns how many of the waits slept.
func (d *medium) wait(op Op, requests int) (slept int) {
	for range requests {
		began := d.now
		d.slept = false
		d.p.start(op)
		for !d.slept && d.now < began+d.takes {
			d.now += time.Microsecond
			d.p.polled(0)
		}
		if d.slept {
			slept++
			d.now = max(d.now, began+d.takes) + d.lateBy
		}
		d.p.end(d.now - began)
	}
	return slept
}

const us = time.Microsecond

// TestAdaptiveSpinsForEverySecondRead waits for reads and writes that are worth spinning for, and counts the waits that slept.
func TestAdaptiveSpinsForEverySecondRead(t *testing.T) {
	for op, want := range map[Op]int{OpRead: 50, OpWrite: 0, OpFlush: 0, numOps + 1: 0} {
		require.Equal(t, want, newMedium(100*us, 15*us).wait(op, 100), "%v", op)
	}
}

// TestAdaptiveSleepsSeldomWhereThatIsSlow waits for reads that take an adaptive poller much longer when it sleeps, as on a
// machine whose processors are busy, and then for others that do not.
func TestAdaptiveSleepsSeldomWhereThatIsSlow(t *testing.T) {
	d := newMedium(80*us, time.Millisecond)
	d.wait(OpRead, 100)
	require.InDelta(t, 1000/seldom, d.wait(OpRead, 1000), 1)
	d.lateBy = 15 * us
	d.wait(OpRead, 100*seldom)
	require.Equal(t, 50, d.wait(OpRead, 100))
}

// TestAdaptiveSleepsForSlowDevices waits for one that is too slow to spin for, then gets faster, then slow again.
func TestAdaptiveSleepsForSlowDevices(t *testing.T) {
	d := newMedium(5*time.Millisecond, 15*us)
	d.wait(OpWrite, 1)
	before := d.now
	require.Equal(t, 160, d.wait(OpWrite, 160), "one that is spun for in vain sleeps, too")
	require.Less(t, d.now-before, 160*(5*time.Millisecond+20*us), "spinning delays nothing")
	d.takes = 100 * us
	d.wait(OpWrite, 50*seldom)
	require.Zero(t, d.wait(OpWrite, 100), "fast again, and nobody has noticed")
	d.takes = 5 * time.Millisecond
	d.wait(OpWrite, 100)
	require.Equal(t, 100, d.wait(OpWrite, 100))
}

// TestAdaptiveSpinsWhereSleepsEndLate: a wait longer than the limit is spun for where sleeps end much later, and only there.
func TestAdaptiveSpinsWhereSleepsEndLate(t *testing.T) {
	const want = 1600 / seldom
	for _, op := range []Op{OpRead, OpWrite} {
		d := newMedium(5*time.Millisecond, time.Millisecond) // slept for, to begin with
		d.wait(op, 10)
		d.takes = 400 * us
		d.wait(op, 100*seldom)
		require.InDelta(t, want, d.wait(op, 1600), 1, "%v", op)
		d.lateBy = 15 * us
		d.wait(op, 100*seldom)
		require.InDelta(t, 1600-want, d.wait(op, 1600), 1, "%v: sleeping is cheap now", op)
	}
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
