package vfiouser

import (
	"runtime"
	"time"
)

// forever is the wait of a session that only a message can wake.
const forever time.Duration = -1

// firstSleep is the shortest sleep, about what the kernel adds to it anyway.
const firstSleep = 20 * time.Microsecond

// pace is how long to wait for a message before the controller is polled again: not at all while there is work or was until recently,
// then a quarter of the time that has passed without any, so that a host that pauses loses at most that part of its
// pause, up to a bound. For ever when nothing but a message can bring work.
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
	return min(max(past/4, firstSleep), ss.server.o.MaxSleep)
}
