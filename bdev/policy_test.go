package bdev

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wakeful is a sleeper that never sleeps, and counts how often it should have.
type wakeful struct{ waits int }

func (w *wakeful) Wait(time.Duration) { w.waits++ }

// TestYieldsInTurn counts the yields of pacers that poll in vain for a while, by a clock that each look moves on.
func TestYieldsInTurn(t *testing.T) {
	for _, policy := range []Policy{PolicySleep, PolicyPoll} {
		yields, now := 0, time.Duration(0)
		w := &wakeful{}
		p := newPacer(w, policy)
		p.yield = func() { yields++ }
		p.now = func() time.Duration { now += 10 * time.Microsecond; return now }
		for now < 100*turnTime {
			p.polled(0)
		}
		require.InDelta(t, 100, yields, 2, "%v", policy)
		require.Equal(t, policy == PolicySleep, w.waits > 0, "%v", policy)
	}
}

// TestYieldsOnOneProcessor: whoever completes the requests gets it after each poll in vain.
func TestYieldsOnOneProcessor(t *testing.T) {
	yields := 0
	p := newPacer(&wakeful{}, PolicyPoll)
	p.yield, p.single = func() { yields++ }, true
	for range 5 {
		p.polled(0)
	}
	p.polled(1)
	require.Equal(t, 5, yields)
}

// TestOnlyAdaptiveWaitsAreTimed: the others do not look at the clock for a wait.
func TestOnlyAdaptiveWaitsAreTimed(t *testing.T) {
	for policy, want := range map[Policy]time.Duration{PolicyPoll: 0, PolicySleep: 0, PolicyAdaptive: 30 * us} {
		now := 5 * us
		p := newPacer(&wakeful{}, policy)
		p.now = func() time.Duration {
			require.Equal(t, PolicyAdaptive, policy)
			return now
		}
		p.start(OpRead)
		now += 30 * us
		require.Equal(t, want, p.waited())
		p.end(30 * us)
	}
}

// TestSpinsAnewAfterACompletion: the time to spin counts from there, and the clock is looked at once in a while.
func TestSpinsAnewAfterACompletion(t *testing.T) {
	d := newMedium(0, 0)
	looks := 0
	d.p.now = func() time.Duration { looks++; return d.now }
	d.p.start(OpWrite)
	d.p.budget, looks = 100*us, 0
	poll := func(times, found int) {
		for range times {
			d.now += us
			d.p.polled(found)
		}
	}
	for range 4 {
		poll(90, 0)
		poll(1, 1)
	}
	require.False(t, d.slept)
	require.LessOrEqual(t, looks, 4*(1+90/spinsPerLook))
	poll(100+spinsPerLook, 0)
	require.True(t, d.slept)
}

// TestBudget is how long a poller spins that knows what waits took.
func TestBudget(t *testing.T) {
	for name, c := range map[string]struct {
		w      waits
		read   bool
		spin   time.Duration
		enough bool
	}{
		"unknown":                     {waits{n: 1}, false, probeTime, true},
		"quick":                       {waits{1, us, 0}, false, spinMin, true},
		"at the limit":                {waits{1, spinLimit * 4 / 5, 0}, false, spinLimit, true},
		"slow":                        {waits{1, spinLimit*4/5 + us, 0}, false, spinMin, false},
		"slow, for once":              {waits{seldom, spinLimit, 0}, false, probeTime, true},
		"slow, late":                  {waits{1, 400 * us, 601 * us}, true, probeTime, true},
		"slow, late, for once":        {waits{seldom, 400 * us, 601 * us}, true, spinMin, false},
		"slow, not late":              {waits{1, 400 * us, 600 * us}, true, spinMin, false},
		"late, about the longest":     {waits{1, probeTime, 2 * probeTime}, false, probeTime, true},
		"late, too long":              {waits{1, 2 * probeTime, 9 * probeTime}, false, spinMin, false},
		"read":                        {waits{1, 80 * us, 160 * us}, true, 100 * us, true},
		"second read":                 {waits{2, 80 * us, 160 * us}, true, 0, false},
		"second read, late":           {waits{2, 80 * us, 161 * us}, true, 100 * us, true},
		"second read, late, for once": {waits{seldom, 80 * us, 161 * us}, true, 0, false},
		"second write":                {waits{seldom, 80 * us, 0}, false, 100 * us, true},
	} {
		spin, enough := c.w.budget(c.read)
		require.Equal(t, c.spin, spin, name)
		require.Equal(t, c.enough, enough, name)
	}
}

// TestWhatAWaitTells: one that was meant to sleep and did tells of sleeping, every other of the device.
func TestWhatAWaitTells(t *testing.T) {
	for _, c := range []struct {
		slept, tried bool
		want         waits
	}{{false, false, waits{spun: us}}, {false, true, waits{spun: us}}, {true, true, waits{spun: us}}, {true, false, waits{asleep: us}}} {
		var w waits
		p := pacer{this: &w, slept: c.slept, tried: c.tried}
		p.end(us)
		require.Equal(t, c.want, w, "slept %v, tried %v", c.slept, c.tried)
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

// TestOperationsAreToldApart: slow flushes do not make a poller sleep for reads.
func TestOperationsAreToldApart(t *testing.T) {
	d := newMedium(5*time.Millisecond, 15*us)
	d.wait(OpFlush, 20)
	d.takes = 100 * us
	require.Equal(t, 50, d.wait(OpRead, 100))
	d.takes = 5 * time.Millisecond
	require.Equal(t, 20, d.wait(OpFlush, 20))
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
