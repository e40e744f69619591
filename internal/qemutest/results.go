package qemutest

import (
	"regexp"
	"strings"
)

// Test is how one test of the guest's program ended.
type Test struct {
	Name   string
	Status string // PASS, FAIL, SKIP; "" if it never ended
	Took   string // as the test binary says it: 0.12s
	Output string // all it printed, its subtests' included
}

// testStatus is how go test -v ends a test that is no subtest.
var testStatus = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \((\S+)\)`)

// sorter sorts the lines of a verbose test binary by test. Tests run one after the other.
type sorter struct {
	tests []Test
	rest  []string // lines of no test: panics, the binary's last words
}

// add takes a line.
func (s *sorter) add(line string) {
	if name, ok := strings.CutPrefix(line, "=== RUN   "); ok && !strings.Contains(name, "/") {
		s.tests = append(s.tests, Test{Name: name})
		return
	}
	last := len(s.tests) - 1
	if last < 0 || s.tests[last].Status != "" && !strings.HasPrefix(line, "    ") {
		s.rest = append(s.rest, line)
		return
	}
	if m := testStatus.FindStringSubmatch(line); m != nil && m[2] == s.tests[last].Name {
		s.tests[last].Status, s.tests[last].Took = m[1], m[3]
		return
	}
	s.tests[last].Output += line + "\n"
}
