package sqlite

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/judges/powercut"
)

const (
	accounts  = 20
	fortune   = accounts * 100
	transfers = 200
)

// TestBank: connections that move money at the same time lose none of it, and readers always see all of it. What keeps
// them apart are the locks of the VFS, and in WAL mode the shared memory too.
func TestBank(t *testing.T) {
	seed := powercut.Seed(t)
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "WAL" && !vfs.SupportsSharedMemory {
				t.Skip("no shared memory on this platform")
			}
			v := Register(powercut.NewFS(t, 64<<20), Options{SharedFolder: t.TempDir()})
			defer v.Unregister()
			c := bankConnection(t, v, mode)
			require.NoError(t, c.Exec(`CREATE TABLE account(id INTEGER PRIMARY KEY, money INTEGER, page BLOB);
				WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
				INSERT INTO account SELECT i, 100, zeroblob(3000) FROM n`))
			var people sync.WaitGroup
			for i := range 4 {
				people.Go(func() {
					rng := rand.New(rand.NewPCG(seed, uint64(i)))
					if i < 2 {
						work(t, v, mode, rng, transfer)
					} else {
						work(t, v, mode, rng, count)
					}
				})
			}
			people.Wait()
			require.NoError(t, count(c, nil))
			require.NoError(t, c.Close())
		})
	}
}

func bankConnection(t *testing.T, v *VFS, mode string) *sqlite3.Conn {
	c, err := sqlite3.Open(v.URI("/bank.db"))
	require.NoError(t, err)
	require.NoError(t, c.BusyTimeout(time.Minute))
	require.NoError(t, c.Exec("PRAGMA journal_mode="+mode))
	return c
}

// work does the same thing again and again on a connection of its own.
func work(t *testing.T, v *VFS, mode string, rng *rand.Rand, do func(*sqlite3.Conn, *rand.Rand) error) {
	c := bankConnection(t, v, mode)
	for range powercut.Rounds(transfers) {
		if err := do(c, rng); err != nil {
			t.Errorf("%s: %v", mode, err)
			break
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("%s: close: %v", mode, err)
	}
}

func transfer(c *sqlite3.Conn, rng *rand.Rand) error {
	if err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	n := rng.IntN(10)
	return errors.Join(
		exec(c, "UPDATE account SET money = money - ? WHERE id = ?", n, 1+rng.IntN(accounts)),
		exec(c, "UPDATE account SET money = money + ? WHERE id = ?", n, 1+rng.IntN(accounts)),
		c.Exec("COMMIT"))
}

// count reads row by row, each on a page of its own, so that there is time for others to interfere.
func count(c *sqlite3.Conn, _ *rand.Rand) error {
	total := 0
	err := query(c, "SELECT money FROM account", func(s *sqlite3.Stmt) {
		total += s.ColumnInt(0)
		runtime.Gosched()
	})
	if err == nil && total != fortune {
		return wrong("%d in all accounts, want %d", total, fortune)
	}
	return err
}
