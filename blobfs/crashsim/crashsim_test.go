package crashsim

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/internal/invariants"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seedOf returns the seed of a random test: CRASHSIM_SEED, or a new one. It is printed.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CRASHSIM_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 0, 64)
		require.NoError(t, err)
	}
	t.Logf("seed: CRASHSIM_SEED=%d", seed)
	return seed
}

// few makes a count smaller where cuts are dear.
func few(n int) int {
	if testing.Short() || invariants.Enabled {
		return n / 10
	}
	return n
}

// TestOneOperation cuts the power everywhere in every operation, from every state of the files.
func TestOneOperation(t *testing.T) {
	list := Sequences(1)
	all := len(list)
	if few(10) == 1 {
		list = list[:few(all)]
	}
	done, err := RunSequences(t.Context(), list, Options{Seed: seedOf(t)})
	require.NoError(t, err)
	t.Logf("%d of %d sequences of one operation: %v", len(list), all, done)
}

// TestHistories cuts the power everywhere in longer sequences, one for each rule that needs them.
func TestHistories(t *testing.T) {
	list := Histories()
	if few(10) == 1 {
		list = list[:len(list)-1] // all but the longest
	}
	done, err := RunSequences(t.Context(), list, Options{Seed: seedOf(t)})
	require.NoError(t, err)
	require.EqualValues(t, len(list), done.Cases, "one of them makes no sense")
	t.Logf("longer sequences: %v", done)
}

// TestTwoOperations does the same with some of the sequences of two; make stress runs all.
func TestTwoOperations(t *testing.T) {
	seed := seedOf(t)
	list := Sequences(2)
	all := len(list)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(all, func(i, j int) { list[i], list[j] = list[j], list[i] })
	list = list[:few(800)]
	done, err := RunSequences(t.Context(), list, Options{Seed: seed})
	require.NoError(t, err)
	t.Logf("%d of %d sequences of two operations, some of which make no sense: %v", len(list), all, done)
}

// TestRandomCuts cuts the power in long workloads, again and again on the same disk.
func TestRandomCuts(t *testing.T) {
	done, err := RunRandom(t.Context(), few(2000), Options{Seed: seedOf(t)})
	require.NoError(t, err)
	t.Logf("random workloads: %v", done)
}

// TestLyingFlushIsFound: a device whose flush does nothing breaks promises, and the simulator says which, how, and how to
// see it again.
func TestLyingFlushIsFound(t *testing.T) {
	o := Options{Seed: 1, lyingFlush: true}
	_, err := RunSequences(t.Context(), Sequences(1), o)
	var f *Failure
	require.ErrorAs(t, err, &f)
	require.Contains(t, err.Error(), "go run ./cmd/crashsim -seed 1 -case")

	_, err = RunRandom(t.Context(), 1000, o)
	require.ErrorAs(t, err, &f)
	require.Less(t, len(f.Trace), opsOfLife/4, "the workload was not made shorter")
	require.Contains(t, err.Error(), "go run ./cmd/crashsim -seed ")
}

func TestOpsRoundTrip(t *testing.T) {
	for _, s := range Sequences(2)[:600] {
		got, err := ParseSequence(s.String())
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
	for _, bad := range []string{"", "synced:", "synced absent", "gone absent: syncdir", "synced absent: append /a", "synced absent: append /a x", "synced absent: jump /a"} {
		_, err := ParseSequence(bad)
		require.Error(t, err, bad)
	}
}

// TestRunStops: the first failure ends a simulation and is returned.
func TestRunStops(t *testing.T) {
	boom := errors.New("boom")
	n := 0
	require.ErrorIs(t, each(t.Context(), 1, 100, func(i int) error {
		if n++; i == 3 {
			return boom
		}
		return nil
	}), boom)
	require.Equal(t, 4, n)
}
