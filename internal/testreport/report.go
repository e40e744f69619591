package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// event is a line of go test -json ("go doc test2json").
type event struct {
	Action     string
	Package    string
	Test       string
	Elapsed    float64 // seconds
	Output     string
	ImportPath string // of build output

	FailedBuild string // of a package that fails because something did not build, which is told by itself
}

// test names a test, or a package where the name is empty.
type test struct{ pkg, name string }

func (t test) String() string { return strings.TrimSpace(shortName(t.pkg) + " " + t.name) }

// shortName leaves out what all packages of the module begin with.
func shortName(pkg string) string { return strings.TrimPrefix(pkg, "github.com/blobkv/blobkv/") }

// report follows test runs.
type report struct {
	w      io.Writer
	output map[test]*strings.Builder // of tests that have not ended, and of packages
	order  map[string][]test         // tests of a package that have not ended, in the order in which they began

	passed  int
	fails   []test
	skipped []skip
	broken  []string // packages that did not build, and go test itself

	cuts, recoveries, faults int
}

type skip struct {
	test
	reason string
}

func newReport(w io.Writer) *report {
	return &report{w: w, output: map[test]*strings.Builder{}, order: map[string][]test{}}
}

// failed reports that something has been said to have failed.
func (r *report) failed() bool { return len(r.fails)+len(r.broken) > 0 }

// read follows one run. Lines that are no events are passed on: they come from go itself.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil:
			fmt.Fprintf(r.w, "%s", line)
		default:
			r.event(&e)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) event(e *event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "build-fail":
		r.broken = append(r.broken, "build of "+e.ImportPath)
	case "run":
		r.order[t.pkg] = append(r.order[t.pkg], t)
	case "output":
		if r.output[t] == nil {
			r.output[t] = &strings.Builder{}
		}
		r.output[t].WriteString(e.Output)
	case "pass", "fail", "skip":
		r.ended(t, e)
	}
}

// ended takes note of a result.
func (r *report) ended(t test, e *event) {
	out := ""
	if b := r.output[t]; b != nil {
		out = b.String()
	}
	delete(r.output, t)
	if t.name == "" {
		r.packageEnded(t, e, out)
		return
	}
	r.forget(t)
	r.count(out)
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped = append(r.skipped, skip{t, reason(out)})
	case "fail":
		r.fails = append(r.fails, t)
		fmt.Fprint(r.w, out)
	}
}

// packageEnded prints the line of a package. If it fails, with what was printed outside of its tests and what the tests
// said that never ended: they were running when it panicked or timed out.
func (r *report) packageEnded(t test, e *event, out string) {
	unfinished := r.order[t.pkg]
	delete(r.order, t.pkg)
	switch {
	case e.Action == "skip":
		fmt.Fprintf(r.w, "-    %s: no tests\n", shortName(t.pkg))
		return
	case e.Action == "pass":
		cached := ""
		if strings.Contains(out, "(cached)") {
			cached = " (cached)"
		}
		fmt.Fprintf(r.w, "ok   %s %.1fs%s\n", shortName(t.pkg), e.Elapsed, cached)
		return
	}
	for _, u := range unfinished {
		if b := r.output[u]; b != nil {
			fmt.Fprint(r.w, b.String())
			delete(r.output, u)
		}
		r.fails = append(r.fails, u)
	}
	fmt.Fprint(r.w, out)
	fmt.Fprintf(r.w, "FAIL %s %.1fs\n", shortName(t.pkg), e.Elapsed)
	if e.FailedBuild == "" && !r.named(t.pkg) {
		r.fails = append(r.fails, t)
	}
}

// named reports that a failure of a package is listed.
func (r *report) named(pkg string) bool {
	for _, f := range r.fails {
		if f.pkg == pkg {
			return true
		}
	}
	return false
}

// forget takes a test out of those that run.
func (r *report) forget(t test) {
	list := r.order[t.pkg]
	for i := range list {
		if list[i] == t {
			r.order[t.pkg] = append(list[:i], list[i+1:]...)
			return
		}
	}
}

var (
	cutsLine   = regexp.MustCompile(`(\d+) power cuts(?: judged, (\d+) more during recovery)?`)
	faultsLine = regexp.MustCompile(`: fail every I/O.*?: (\d+) cases`)
	frameLine  = regexp.MustCompile(`^\s*(=== |--- )`)
	placeOfLog = regexp.MustCompile(`^\s*\S+\.go:\d+: `)
)

// count adds the figures that a test has logged.
func (r *report) count(out string) {
	for _, m := range cutsLine.FindAllStringSubmatch(out, -1) {
		r.cuts += number(m[1])
		r.recoveries += number(m[2])
	}
	for _, m := range faultsLine.FindAllStringSubmatch(out, -1) {
		r.faults += number(m[1])
	}
}

// number reads digits; none are zero.
func number(digits string) int {
	n, _ := strconv.Atoi(digits) // an error leaves what fits
	return n
}

// reason is what a test said before it skipped, on one line.
func reason(out string) string {
	var said []string
	for line := range strings.Lines(out) {
		if frameLine.MatchString(line) {
			continue
		}
		if s := strings.TrimSpace(placeOfLog.ReplaceAllString(line, "")); s != "" {
			said = append(said, s)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// summary prints the end of the report and returns whether all is well.
func (r *report) summary(took time.Duration) bool {
	fmt.Fprintln(r.w)
	if r.cuts+r.faults > 0 {
		fmt.Fprintf(r.w, "crash simulation: %d power cuts judged and %d more during recovery, %d failing I/Os\n", r.cuts, r.recoveries, r.faults)
	}
	for _, s := range r.skipped {
		fmt.Fprintf(r.w, "skipped: %v: %s\n", s.test, s.reason)
	}
	for _, f := range r.fails {
		fmt.Fprintf(r.w, "failed: %v\n", f)
	}
	for _, b := range r.broken {
		fmt.Fprintf(r.w, "broken: %s\n", b)
	}
	fmt.Fprintf(r.w, "%d passed, %d failed, %d skipped in %v\n", r.passed, len(r.fails)+len(r.broken), len(r.skipped), took.Round(time.Second))
	if r.passed == 0 && !r.failed() {
		fmt.Fprintln(r.w, "no test has run")
		return false
	}
	return !r.failed()
}
