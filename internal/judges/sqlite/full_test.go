package sqlite

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/judges/powercut"
)

// TestFull: a transaction that finds no space is rolled back, nothing else is lost, and after a deletion there is space
// again. (In WAL mode a deletion needs space first.)
func TestFull(t *testing.T) {
	for _, mode := range []string{"DELETE", "PERSIST", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			fs := powercut.NewFS(t, 16<<20)
			c, err := connect(fs, settings{journal: mode, sync: "FULL", pageSize: 4096, vacuum: "FULL", cachePages: 20, exclusive: true})
			require.NoError(t, err)
			w := &workload{rng: rand.New(rand.NewPCG(powercut.Seed(t), 0)), connection: c, now: world{}.clone()}
			for range powercut.Rounds(3) {
				fill(t, w)
				require.NoError(t, requireSame(c.Conn, w.now))
				require.NoError(t, requireIntact(c.Conn))
				if mode == "WAL" {
					break
				}
				require.NoError(t, c.Exec("DELETE FROM a"))
				w.now[0] = map[int64]row{}
			}
			require.NoError(t, c.Close())
		})
	}
}

// fill inserts rows until there is no space for one.
func fill(t *testing.T, w *workload) {
	for id := int64(1); ; id++ {
		r := row{w.tag(), id, string(make([]byte, w.rng.IntN(100_000)))}
		err := w.put(0, id, r)
		if err == nil {
			continue
		}
		require.True(t, errors.Is(err, sqlite3.FULL), "%v", err)
		delete(w.now[0], id)
		require.Greater(t, id, int64(50), "space for fewer rows than there should be")
		return
	}
}
