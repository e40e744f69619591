package main

import "time"

// Limits of rows that nothing on the command line bounds, so that a run without arguments answers in under a minute and
// a slow disk does not make it an hour.
const (
	readLimit     = 5 * time.Second // rows that leave no data behind
	defaultLimit  = 8 * time.Second // any row, when neither --num nor --vs asks for a whole data set
	rotationLimit = 5 * time.Minute // a row or a part of one that ends with its log
)

// endless is more operations than a row ever makes.
const endless = 1 << 62

// rowBounds say when a row ends: whatever comes first. Parts are measured one after the other, each on a store that was
// prepared for it.
type rowBounds struct {
	ops       int64
	limit     time.Duration // 0: none
	rotations int64         // of the log; 0: however many
	parts     int
}

// bounds says when a row ends on an engine. A row on fresh logs ends with its log, since the next one may be recycled:
// to see as many rotations as are asked for it takes as many stores.
func (se *session) bounds(c *contender, b *benchmark) rowBounds {
	r := rowBounds{parts: 1}
	r.ops, r.limit = se.opsAndTime(b)
	if b.log == logFresh {
		r.rotations = 1
	}
	switch {
	case c.Engine == engineDevice:
		r = rowBounds{ops: endless, limit: deviceTime, parts: 1}
		if se.Duration > 0 {
			r.limit = min(r.limit, se.Duration)
		}
		return r
	case se.LogRotations == 0 || b.log == logAny:
		return r
	case b.log == logFresh:
		return rowBounds{ops: endless, limit: rotationLimit, rotations: 1, parts: se.LogRotations}
	}
	return rowBounds{ops: endless, limit: rotationLimit, rotations: int64(se.LogRotations), parts: 1}
}

func (se *session) opsAndTime(b *benchmark) (maxOps int64, limit time.Duration) {
	switch {
	case se.Duration > 0 && !se.complete(b):
		return endless, se.Duration
	case !b.writes || b.synced || b.files:
		return se.Num, readLimit
	case se.NumGiven || se.VS != "" || se.DataOverMemory > 0:
		return se.Num, 0
	}
	return se.Num, defaultLimit
}

// complete says whether a row makes all its operations whatever the time: what it leaves is the data of the rows to come.
func (se *session) complete(b *benchmark) bool {
	return b.fixed || se.DataOverMemory > 0 && b.fresh && b.loads()
}
