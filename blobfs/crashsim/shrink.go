package crashsim

import (
	"context"
	"errors"
	"slices"
	"time"
)

// shrinkTime bounds the search for a shorter workload that fails too.
const shrinkTime = 10 * time.Second

// shrink looks for a part of a failed workload that fails too, by leaving out runs of operations, long ones first. Where
// the power goes is drawn anew each time. It returns the failure of the shortest workload it found.
func (c *chain) shrink(ctx context.Context, workload [][]Op, failure error) error {
	ctx, cancel := context.WithTimeout(ctx, shrinkTime)
	defer cancel()
	for i := range workload {
		for run := len(workload[i]); run > 0 && ctx.Err() == nil; run /= 2 {
			for at := 0; at < len(workload[i]) && ctx.Err() == nil; {
				shorter := slices.Clone(workload)
				shorter[i] = slices.Concat(workload[i][:at], workload[i][min(at+run, len(workload[i])):])
				if err := c.tryOften(ctx, shorter); isFailure(err) {
					workload, failure = shorter, err
				} else {
					at += run
				}
			}
		}
	}
	return failure
}

// tryOften tries a workload a few times, as it may fail only where it is cut at the right place.
func (c *chain) tryOften(ctx context.Context, workload [][]Op) error {
	for range 3 {
		if err := c.try(ctx, workload, false); err != nil {
			return err
		}
	}
	return nil
}

func isFailure(err error) bool {
	var f *Failure
	return errors.As(err, &f)
}
