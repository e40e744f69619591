package sqlite

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/internal/judges/powercut"
)

// TestModel: SQLite on blobfs gives back what a plain map would, in every journal mode, across reopening.
func TestModel(t *testing.T) {
	seed := powercut.Seed(t)
	for i, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			fs := powercut.NewFS(t, 128<<20)
			fixed := drawFixed(rng)
			fixed.safeAppend = fixed.safeAppend && mode != "PERSIST"
			w := &workload{rng: rng, now: world{}.clone(), atomic: true, committing: func(world) {}, committed: func() {}}
			for range 4 {
				modelRun(t, fs, w, fixed.draw(rng), mode)
			}
		})
	}
}

// modelRun is one connection's time.
func modelRun(t *testing.T, fs *blobfs.FS, w *workload, s settings, mode string) {
	s.journal = mode
	c, err := connect(fs, s)
	require.NoError(t, err)
	w.connection = c
	for _, file := range []string{"main", "aux"} {
		require.NoError(t, query(c.Conn, "PRAGMA "+file+".journal_mode", func(s *sqlite3.Stmt) {
			require.Equal(t, mode, strings.ToUpper(s.ColumnText(0)))
		}))
	}
	require.NoError(t, requireSame(c.Conn, w.now))
	for range powercut.Rounds(40) {
		require.NoError(t, w.step(), "%+v: %s", s, w.last)
	}
	require.NoError(t, requireSame(c.Conn, w.now))
	require.NoError(t, requireIntact(c.Conn))
	require.NoError(t, c.Close())
}
