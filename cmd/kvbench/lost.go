package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// errIncomplete is returned by a run some of whose rows have no figures of an engine.
var errIncomplete = errors.New("not measured")

// unfit says why a contender cannot run a row, "" if it can: a store that was being filled when its engine was killed
// would answer reads of less than was asked for.
func (c *contender) unfit(p rowPlan) string {
	if c.incomplete == "" || p.fresh || p.files {
		return ""
	}
	return "its store is not complete: killed in " + c.incomplete
}

// measureInto measures one run and adds it to the outcome. That an engine was killed is an outcome too: there is a new
// process afterwards, on the store that the old one has left.
func (se *session) measureInto(ctx context.Context, o *outcome, c *contender, p rowPlan, run int) error {
	m, err := se.measure(ctx, c, p, run)
	if !errors.Is(err, errKilled) || ctx.Err() != nil {
		if err == nil {
			o.runs = append(o.runs, m)
			if p.fresh {
				c.incomplete = ""
			}
		}
		return err
	}
	why, err := c.bury(int64(se.Memory))
	if err != nil {
		return err
	}
	o.lost = why
	if se.Runs > 1 {
		o.lost = fmt.Sprintf("%s in run %d of %d", why, run+1, se.Runs)
	}
	se.lost = append(se.lost, fmt.Sprintf("%s of %s (%s)", p.title(), c.label(se.contenders), why))
	if p.writes || p.fresh {
		c.incomplete = p.title()
	}
	c.opened = true // what is there is this session's
	return se.revive(c)
}

// revive starts a process for an engine that has none any more.
func (se *session) revive(c *contender) error {
	groupErr, err := c.start(c.label(se.contenders), se.limitOf(c), se.stderr)
	return errors.Join(groupErr, err)
}

// lostError names the rows without figures, nil if there are none.
func (se *session) lostError() error {
	if len(se.lost) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", errIncomplete, strings.Join(se.lost, ", "))
}
