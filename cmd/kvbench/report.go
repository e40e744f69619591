package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// reporter prints a session's rows as they come.
type reporter interface {
	header(lines, notes []string)
	row(r row)
	footer(lines []string)
}

func newReporter(format string, w, notes io.Writer) reporter {
	if format == formatJSON {
		return &jsonReporter{json.NewEncoder(w), notes}
	}
	return &tableReporter{w: w}
}

// jsonReporter prints one object per row and nothing else, so that every line of the output parses. Notes go elsewhere.
type jsonReporter struct {
	enc   *json.Encoder
	notes io.Writer
}

func (j *jsonReporter) header(_, notes []string) {
	for _, n := range notes {
		fmt.Fprintf(j.notes, "kvbench: %s\n", n)
	}
}

func (j *jsonReporter) footer(lines []string) {
	for _, l := range lines {
		fmt.Fprintln(j.notes, l)
	}
}

func (j *jsonReporter) row(r row) {
	_ = j.enc.Encode(r) // nobody is left to tell when standard output is gone
}

// tableReporter prints for people.
type tableReporter struct {
	w        io.Writer
	headed   bool
	previous string // title of the row above
}

func (t *tableReporter) header(lines, notes []string) {
	for _, l := range lines {
		fmt.Fprintln(t.w, l)
	}
	for _, n := range notes {
		fmt.Fprintln(t.w, "note      "+n)
	}
	fmt.Fprintln(t.w)
}

func (t *tableReporter) footer(lines []string) {
	fmt.Fprintln(t.w)
	for _, l := range lines {
		fmt.Fprintln(t.w, l)
	}
}

const (
	columnTitles = "%-23s %-16s %10s %8s %8s %8s %9s %9s %8s %8s %7s %8s  %s\n"
	columnCells  = "%-23s %-16s %10s %8.1f %8s %8s %9s %9s %8s %8s %7s %8s  %s\n"
)

func (t *tableReporter) row(r row) {
	if !t.headed {
		t.headed = true
		line := fmt.Sprintf(columnTitles, "benchmark", "engine", "ops/s", "MB/s", "p50 us", "p99 us", "p99.9 us", "max us", "cpu/op", "sys/op", "lsm MB", "disk MB", "")
		fmt.Fprintln(t.w, strings.TrimRight(line, " \n"))
	}
	name := rowTitle(r.Benchmark, r.Threads)
	if name == t.previous {
		name = ""
	} else {
		t.previous = name
	}
	line := ""
	switch f := r.figures; {
	case r.Bound != nil:
		line = strings.Join(boundLines(&r), "\n"+strings.Repeat(" ", 24))
		line = fmt.Sprintf("%-23s %s", name, line)
	case r.ratio != nil:
		line = fmt.Sprintf("%-23s %-16s %s", name, "ratio", ratioText(&r))
	case f == nil:
		line = fmt.Sprintf("%-23s %-16s %10s  %s", name, r.label, "-", r.Lost)
	default:
		line = fmt.Sprintf(columnCells, name, r.label, thousands(f.OpsPerSec), f.MBPerSec, micros(f.P50), micros(f.P99), micros(f.P999),
			micros(f.Max), micros(f.CPUPerOp), optional(f.SysCPU, micros), wholeMB(f.EngineMB), optional(f.DiskWriteMB, wholeMB), tableNote(&r))
	}
	fmt.Fprintln(t.w, strings.TrimRight(line, " \n"))
}

// tableNote adds the spread of several runs and the amount of data to a row's own note.
func tableNote(r *row) string {
	var parts []string
	if r.Runs > 1 {
		parts = append(parts, thousands(r.MinOps)+".."+thousands(r.MaxOps))
	}
	for _, note := range []string{overMemory(r), r.Note} {
		if note != "" {
			parts = append(parts, note)
		}
	}
	return strings.Join(parts, "; ")
}

func optional(v *float64, format func(float64) string) string {
	if v == nil {
		return "-"
	}
	return format(*v)
}

func wholeMB(v float64) string { return fmt.Sprintf("%.0f", v) }

// micros prints a time in three or more digits, whatever its size.
func micros(us float64) string {
	switch {
	case us < 10:
		return fmt.Sprintf("%.2f", us)
	case us < 100:
		return fmt.Sprintf("%.1f", us)
	}
	return fmt.Sprintf("%.0f", us)
}

// thousands prints a rate as a whole number with separators.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
