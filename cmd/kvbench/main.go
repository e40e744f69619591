// Command kvbench measures the key-value store with db_bench's workloads, alone or beside the same Pebble on the
// kernel's file system.
//
// Reading order: command.go (flags), bench.go (the session: rows, engines, runs), engine.go (the child process that
// runs one engine) and workloads.go (what one operation of each benchmark is). Each engine lives in a child process of
// its own, started from this same binary; the two speak JSON lines (protocol.go).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1   // the benchmark could not be carried out
	exitUsage       = 2   // unknown flag, bad value, store in the way
	exitIncomplete  = 3   // it was, but rows have no figures of an engine that was killed
	exitInterrupted = 130 // Ctrl-C, SIGTERM, SIGHUP or a broken pipe; what was made is removed
)

// errUsage marks errors that another command line would avoid.
var errUsage = errors.New("usage")

func main() {
	if isEngineProcess(os.Args) {
		os.Exit(engineMain(os.Stdin, os.Stdout, os.Stderr))
	}
	// SIGPIPE too: kvbench | head must not leave a mount behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	cmd := newCommand(os.Stdout, os.Stderr)
	err := cmd.ExecuteContext(ctx)
	os.Exit(report(ctx, err))
}

// report prints what went wrong and picks the exit code.
func report(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "kvbench: interrupted")
		return exitInterrupted
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "kvbench: %v\nkvbench --help lists the flags.\n", err)
		return exitUsage
	}
	fmt.Fprintf(os.Stderr, "kvbench: %v\n", err)
	if errors.Is(err, errIncomplete) {
		return exitIncomplete
	}
	return exitFailed
}
