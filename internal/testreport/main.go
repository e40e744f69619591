// Command testreport runs go test and says at the end what was tested and what was not: a line for each package as it finishes,
// the whole output of what fails, and then how many tests passed, failed and were skipped, each of the skipped by name
// with its reason, and how many power cuts and failing I/Os the crash simulations tried.
//
//	go run ./internal/testreport [go test arguments] [-- [-C folder] [go test arguments]]...
//
// Each part after a -- is one more run, reported together with the others. -C goes first in its part and names the module's
// folder. It exits with 1 if a test fails, a package does not build, or go test itself says so.
//
// A test has its figures counted by logging them as blobfs/crashsim does: "12 power cuts judged, 3 more during recovery", or
// just "12 power cuts", and in a line that begins with "fail every I/O" the number of "cases".
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	r := newReport(stdout)
	start := time.Now()
	for _, part := range split(args) {
		if err := goTest(part, r, stderr); err != nil {
			r.broken = append(r.broken, err.Error())
		}
	}
	if r.summary(time.Since(start)) {
		return 0
	}
	return 1
}

// split cuts arguments at each "--".
func split(args []string) (parts [][]string) {
	for {
		i := slices.Index(args, "--")
		if i < 0 {
			return append(parts, args)
		}
		parts = append(parts, args[:i])
		args = args[i+1:]
	}
}

// goTest runs go test once. What it writes to its own standard error goes to stderr.
func goTest(args []string, r *report, stderr io.Writer) error {
	command := []string{"test", "-json"}
	if len(args) >= 2 && args[0] == "-C" {
		command = []string{"-C", args[1], "test", "-json"}
		args = args[2:]
	}
	goTool := os.Getenv("GO")
	if goTool == "" {
		goTool = "go"
	}
	cmd := exec.Command(goTool, append(command, args...)...)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := r.read(out)
	_, drainErr := io.Copy(io.Discard, out) // or go test would wait for a reader
	err = cmd.Wait()
	if readErr == nil {
		readErr = drainErr
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && r.failed() {
		err = nil // told already
	}
	if err != nil {
		err = fmt.Errorf("go test %v: %w", args, err)
	}
	return errors.Join(readErr, err)
}
