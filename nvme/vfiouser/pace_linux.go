package vfiouser

import (
	"runtime"
	"time"
)

// forever is the wait of a session that only a message can wake.
const forever time.Duration = -1

// The shortest sleep is about what the kernel adds to it anyway; shortSleep is the longest of a host that has just paused.
const (
	firstSleep = 20 * time.Microsecond
	shortSleep = 2 * time.Millisecond
)

// pace is how long to wait for a message before the controller is polled again: not at all while there is work or was until recently,
// then a quarter of the time that has passed without any, up to shortSleep, and a hundredth when that is more: a host that pauses
// loses at most that part of its pause, up to a bound, and one that sends a message when it waits loses nothing. While commands are under
// way it is a sixteenth: the host does wait for them. For ever when nothing but a message can bring work.
func (ss *session) pace() time.Duration {
	if ss.fault == nil && !ss.ctrl.Enabled() {
		return forever
	}
	now := time.Now()
	if ss.quiet.IsZero() {
		ss.quiet = now
		return 0
	}
	past := now.Sub(ss.quiet)
	if past < ss.server.o.Spin && runtime.NumCPU() > 1 {
		return 0
	}
	if ss.ctrl.Working() {
		return max(firstSleep, min(past/16, shortSleep))
	}
	return min(max(firstSleep, min(past/4, shortSleep), past/100), ss.server.o.MaxSleep)
}
