package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/blobkv/blobkv/blobfs/crashsim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// task is what the command line asks for.
type task struct {
	cuts      int
	sequences int
	one       string
	faults    bool
	options   crashsim.Options
}

func parse(args []string, stderr io.Writer) (t task, err error) {
	f := flag.NewFlagSet("crashsim", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&t.cuts, "cuts", 2000, "random power cuts to make")
	f.IntVar(&t.sequences, "sequences", 0, "instead, every sequence of up to so many operations, and some longer ones")
	f.StringVar(&t.one, "case", "", "instead, this one sequence")
	f.BoolVar(&t.faults, "faults", false, "instead, fail every operation of the device in turn")
	f.Uint64Var(&t.options.Seed, "seed", 0, "seed; 0: from the clock")
	f.IntVar(&t.options.Workers, "workers", 0, "cases at a time; 0: one for each processor")
	if err = f.Parse(args); err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if t.options.Seed == 0 {
		t.options.Seed = uint64(time.Now().UnixNano())
	}
	return t, err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	t, err := parse(args, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "crashsim:", err)
		return 2
	}
	fmt.Fprintf(stdout, "seed %d\n", t.options.Seed)
	start := time.Now()
	t.options.Progress = everySecond(stdout, start)
	done, err := t.carryOut(ctx)
	took := time.Since(start).Seconds()
	if ctx.Err() != nil {
		fmt.Fprintln(stdout, "stopped")
	}
	fmt.Fprintf(stdout, "%v in %.0f s, %.0f cuts/s\n", done, took, float64(done.Cuts)/took)
	if err != nil {
		fmt.Fprintf(stderr, "FAIL: %v\n", err)
		return 1
	}
	return 0
}

func (t *task) carryOut(ctx context.Context) (crashsim.Counts, error) {
	if t.one != "" {
		s, err := crashsim.ParseSequence(t.one)
		if err != nil {
			return crashsim.Counts{}, err
		}
		return crashsim.RunSequences(ctx, []crashsim.Sequence{s}, t.options)
	}
	if t.faults {
		return crashsim.FailAll(ctx, 1, t.options)
	}
	if t.sequences > 0 {
		list := crashsim.Histories()
		for n := range t.sequences {
			list = append(list, crashsim.Sequences(n+1)...)
		}
		return crashsim.RunSequences(ctx, list, t.options)
	}
	return crashsim.RunRandom(ctx, t.cuts, t.options)
}

// everySecond prints counts, at most one line a second.
func everySecond(w io.Writer, start time.Time) func(crashsim.Counts) {
	var mu sync.Mutex
	next := start.Add(time.Second)
	return func(done crashsim.Counts) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.After(next) {
			next = now.Add(time.Second)
			fmt.Fprintf(w, "%4.0f s  %v\n", now.Sub(start).Seconds(), done)
		}
	}
}
