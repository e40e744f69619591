package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestErrorsOfAnEngine: an engine whose device has gone complains for as long as the run lasts.
func TestErrorsOfAnEngine(t *testing.T) {
	var l engineLogger
	var out strings.Builder
	for n := range 1000 {
		l.complain(&out, "background error %d", n)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, maxErrors+1)
	require.Equal(t, "pebble: background error 9", lines[maxErrors-1])
	require.Equal(t, "pebble: further errors are not printed", lines[maxErrors])
}
