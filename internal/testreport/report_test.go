package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// module writes a module of test files and returns its folder.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.org/m\n\ngo 1.26\n"
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o666))
	}
	return dir
}

func reportOf(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var stdout, stderr strings.Builder
	code = run(args, &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

const good = `package good
import "testing"
func TestOne(t *testing.T) {
	t.Log("random workloads: 5 cases, 20 power cuts judged, 7 more during recovery")
	t.Run("sub", func(t *testing.T) { t.Log("fail every I/O, close: 11 cases, 3 power cuts judged, 0 more during recovery") })
}
func TestOther(t *testing.T) { t.Skipf("no %s here", "device") }
`

func TestPassing(t *testing.T) {
	dir := module(t, map[string]string{"good/a_test.go": good, "empty/a.go": "package empty"})
	code, out := reportOf(t, "-C", dir, "./...")
	require.Zero(t, code, out)
	for _, line := range []string{
		"ok   example.org/m/good ",
		"-    example.org/m/empty: no tests",
		"crash simulation: 23 power cuts judged and 7 more during recovery, 11 failing I/Os\n",
		"skipped: example.org/m/good TestOther: no device here\n",
		"2 passed, 0 failed, 1 skipped in ",
	} {
		require.Contains(t, out, line)
	}
	require.NotContains(t, out, "random workloads", "what passes is quiet")
}

// TestFailing: what failed is told in full, and runs before and after it are told too.
func TestFailing(t *testing.T) {
	dir := module(t, map[string]string{
		"good/a_test.go": good,
		"bad/a_test.go": `package bad
import ("testing"; "fmt"; "os")
func TestSub(t *testing.T) { t.Run("x", func(t *testing.T) { t.Log("first"); fmt.Println("second"); fmt.Fprintln(os.Stderr, "third"); t.Error("fourth") }) }
`,
		"panics/a_test.go": "package panics\nimport \"testing\"\nfunc TestPanic(t *testing.T) { t.Log(\"before\"); go panic(\"oh dear\"); select {} }\n",
		"exits/a_test.go":  "package exits\nimport (\"os\"; \"testing\")\nfunc TestMain(*testing.M) { os.Exit(3) }\n",
	})
	code, out := reportOf(t, "-C", dir, "./good", "--", "-C", dir, "./bad", "./panics", "./exits", "--", "-C", dir, "./good")
	require.Equal(t, 1, code)
	for _, part := range []string{
		"first", "second\n", "third\n", "fourth", "FAIL example.org/m/bad",
		"before", "panic: oh dear", "goroutine ", "FAIL example.org/m/panics", "FAIL example.org/m/exits",
		"failed: example.org/m/bad TestSub/x\n", "failed: example.org/m/panics TestPanic\n", "failed: example.org/m/exits\n",
		"4 passed, 4 failed, 2 skipped",
	} {
		require.Contains(t, out, part)
	}
}

// TestBroken: what does not build, and what go cannot even begin with, is a failure.
func TestBroken(t *testing.T) {
	dir := module(t, map[string]string{"good/a_test.go": good, "broken/a_test.go": "package broken\nvar x int = \"text\"\n"})
	code, out := reportOf(t, "-C", dir, "./...")
	require.Equal(t, 1, code)
	require.Contains(t, out, "cannot use \"text\"")
	require.Contains(t, out, "broken: build of example.org/m/broken")
	require.Contains(t, out, "ok   example.org/m/good")
	require.Contains(t, out, "2 passed, 1 failed, 1 skipped")

	for _, args := range [][]string{{"-C", dir, "./nosuch"}, {"-C", filepath.Join(dir, "nosuch"), "./..."}, {"-C", dir, "-nosuchflag"}, {"-C", dir, "-run", "Nothing", "./good"}} {
		code, out = reportOf(t, args...)
		require.Equal(t, 1, code, "%v: %s", args, out)
	}
}
