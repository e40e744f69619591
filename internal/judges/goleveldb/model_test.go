package goleveldb

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/judges/powercut"
)

// TestModel: goleveldb on blobfs gives back what a plain map would, through compactions and across reopening.
func TestModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(powercut.Seed(t), 0))
	fs := powercut.NewFS(t, 128<<20)
	w := &workload{rng: rng, now: map[string]string{}, transactions: true}
	for range powercut.Rounds(8) {
		db, err := open(fs, options(rng))
		require.NoError(t, err)
		w.db = db
		require.NoError(t, requireSame(db, w.now))
		for range 150 {
			require.NoError(t, w.step(), w.last)
		}
		require.NoError(t, requireSame(db, w.now))
		require.NoError(t, db.Close())
	}
}
