package crashsim

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// Options of a simulation. The zero value is a good choice.
type Options struct {
	Seed     uint64
	Workers  int          // cases at a time; 0: one for each processor
	Progress func(Counts) // called after each case, from any goroutine; nil for none

	lyingFlush bool // the device's flush does nothing, which has to be found
}

func (o *Options) report(done *counts) {
	if o.Progress != nil {
		o.Progress(done.now())
	}
}

// Counts says how much a simulation has done.
type Counts struct {
	Cases      int64 // sequences, or lives of a disk
	Cuts       int64 // states of the media that were recovered and judged
	Recoveries int64 // cuts in the middle of a recovery
}

// String is a summary in one line.
func (c Counts) String() string {
	return fmt.Sprintf("%d cases, %d power cuts judged, %d more during recovery", c.Cases, c.Cuts, c.Recoveries)
}

func (c Counts) plus(d Counts) Counts {
	return Counts{c.Cases + d.Cases, c.Cuts + d.Cuts, c.Recoveries + d.Recoveries}
}

type counts struct{ cases, cuts, recoveries atomic.Int64 }

func (c *counts) now() Counts { return Counts{c.cases.Load(), c.cuts.Load(), c.recoveries.Load()} }

// Failure is a broken promise.
type Failure struct {
	Case  string // what was run, as the command takes it
	Trace []Op   // the operations that led there
	Where string // the moment of the cut and what became of unflushed writes
	Err   error  // what is wrong with what recovery made of it
}

// Error prints everything that is known.
func (f *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\nthe power went: %s\n", f.Err, f.Where)
	for i, op := range f.Trace {
		fmt.Fprintf(&b, "%5d  %v\n", i+1, op)
	}
	fmt.Fprintf(&b, "again: go run ./cmd/crashsim %s", f.Case)
	return b.String()
}

func (f *Failure) Unwrap() error { return f.Err }

// each calls run for 0 to n-1 from several goroutines until one fails or the context ends. It returns the first failure;
// the end of the context is none.
func each(ctx context.Context, workers, n int, run func(i int) error) error {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	var failure atomic.Pointer[error]
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := run(i); err != nil {
					failure.CompareAndSwap(nil, &err)
					stop(err)
				}
			}
		})
	}
	wg.Wait()
	if p := failure.Load(); p != nil {
		return *p
	}
	return nil
}
