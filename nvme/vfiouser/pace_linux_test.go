package vfiouser

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPace: what a server sleeps at a time grows with the time without work, and less so while commands are under way; up to its bounds.
func TestPace(t *testing.T) {
	const bound = 10 * time.Millisecond
	fake := newFake()
	fake.regs[regCC] = 1
	for _, c := range []struct {
		working   bool
		past, max time.Duration // without work; MaxSleep
		want      time.Duration
	}{
		{false, 4 * time.Millisecond, bound, time.Millisecond},
		{false, 100 * time.Millisecond, bound, shortSleep},
		{false, 500 * time.Millisecond, bound, 5 * time.Millisecond},
		{false, time.Hour, bound, bound},
		{true, 16 * time.Millisecond, bound, time.Millisecond},
		{true, time.Hour, bound, shortSleep},
		{true, time.Hour, shortSleep / 4, shortSleep / 4},
	} {
		ss := &session{negotiated: true, server: &Server{o: ServerOptions{MaxSleep: c.max}.withDefaults()}, ctrl: &workingController{fake, c.working}}
		ss.quiet = time.Now().Add(-c.past)
		got := ss.pace()
		require.GreaterOrEqual(t, got, c.want, "%+v", c)
		require.LessOrEqual(t, got, c.max, "%+v", c)
		if c.working {
			require.LessOrEqual(t, got, shortSleep, "%+v", c)
		}
	}
	fake.regs[regCC] = 0
	require.Equal(t, forever, (&session{negotiated: true, server: &Server{}, ctrl: &workingController{fake, false}}).pace())
}

type workingController struct {
	*fakeController
	working bool
}

func (c *workingController) Working() bool { return c.working }
