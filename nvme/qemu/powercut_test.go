package qemu

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/qemutest"
	"github.com/blobkv/blobkv/nvme/nvmetest"
)

// cuts is how many images are made of each log.
const cuts = 40

// checkCuts makes images that power cuts could have left, from the log of what reached the drive: at its end and at any
// moment before. At its end, all that the guest knew to be durable is there.
func checkCuts(t *testing.T, b boot, folder string, r *qemutest.Result) error {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d rounds were durable", seed, len(r.Notes))
	require.NotEmpty(t, r.Notes)
	acknowledged, err := strconv.Atoi(r.Notes[len(r.Notes)-1])
	require.NoError(t, err)
	f, err := os.Open(filepath.Join(folder, log))
	require.NoError(t, err)
	defer f.Close()
	st, err := f.Stat()
	require.NoError(t, err)
	l, err := qemutest.ReadLog(f, st.Size())
	require.NoError(t, err)
	t.Logf("%d entries, %d flushes", len(l.Entries), l.Flushes(len(l.Entries)))
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range cuts {
		first, last := len(l.Entries), i%2 == 0
		if !last {
			first = rng.IntN(len(l.Entries))
		}
		image := filepath.Join(folder, "cut.img")
		sparse(t, image, b.Namespaces[0].MiB)
		round, err := checkCut(t, l, image, first, b.Namespaces[0].LBA, rng)
		if err != nil {
			return fmt.Errorf("cut at entry %d: %w", first, err)
		}
		if last && round < acknowledged {
			return fmt.Errorf("round %d of %d: %w", round, acknowledged, nvmetest.ErrLost)
		}
	}
	return nil
}

func checkCut(t *testing.T, l *qemutest.LogWrites, image string, first, lba int, rng *rand.Rand) (int, error) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, l.PowerCut(f, first, rng))
	return nvmetest.CheckPowerCut(f, lba)
}

// cutBoot is a boot that ends in a power cut.
func cutBoot(name string, m machine) boot {
	m.Logged = true
	b := boot{name: name, machine: m, tests: "^TestPowerCut$", kill: true}
	b.after = func(t *testing.T, folder string, r *qemutest.Result) { require.NoError(t, checkCuts(t, b, folder, r)) }
	return b
}

// unflushed is one that leaves out the flushes, so that the check has to find something lost.
func (b boot) unflushed() boot {
	b.env = []string{"POWER_CUT_FLUSH=no"}
	b.after = func(t *testing.T, folder string, r *qemutest.Result) {
		require.ErrorIs(t, checkCuts(t, b, folder, r), nvmetest.ErrLost, "a drive without flushes lost nothing: the check sees nothing")
	}
	return b
}
