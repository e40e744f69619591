package bdevtest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// MinSize is the least size of a device under test, in bytes.
const MinSize = 8 << 20

// testCase is one case; its device is open, and closed afterwards unless the case did so.
type testCase struct {
	name string
	run  func(t *testing.T, d *bdev.Device)
}

var cases = [][]testCase{transferCases, rangeCases, opCases, submitCases, concurrentCases, channelCases, closeCases}

// Run runs every case on a device of its own. The devices' contents are overwritten.
func Run(t *testing.T, open func(t *testing.T) *bdev.Device) {
	for _, group := range cases {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				d := open(t)
				require.GreaterOrEqual(t, d.Size(), int64(MinSize), "the suite needs a larger device")
				c.run(t, d)
				if err := d.Close(); err != nil {
					require.ErrorIs(t, err, bdev.ErrClosed)
				}
				require.Zero(t, dmabuf.Default.Stats().Used, "bounce buffers were left behind")
			})
		}
	}
}

// newRand logs its seed.
func newRand(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("BDEVTEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
