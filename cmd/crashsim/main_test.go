package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func crashsimRun(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestRun(t *testing.T) {
	code, out, _ := crashsimRun(t.Context(), "-cuts", "20", "-seed", "3")
	require.Zero(t, code)
	require.Contains(t, out, "seed 3\n")
	require.Contains(t, out, "power cuts judged")

	code, out, _ = crashsimRun(t.Context(), "-case", "synced absent: append /a 100; sync /a")
	require.Zero(t, code)
	require.Contains(t, out, "1 cases")

	for _, bad := range [][]string{{"-cuts", "x"}, {"more"}} {
		code, _, errs := crashsimRun(t.Context(), bad...)
		require.Equal(t, 2, code)
		require.NotEmpty(t, errs)
	}
	code, _, errs := crashsimRun(t.Context(), "-case", "synced absent: jump /a")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "no operation")
}

// TestInterrupt: a simulation that is told to stop says what it has done, and that is no failure.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, out, _ := crashsimRun(ctx, "-cuts", "1000000")
	require.Zero(t, code)
	require.Contains(t, out, "stopped\n")
}
