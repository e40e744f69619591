package sqlite

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/internal/judges/powercut"
)

// phases are the kinds of statements that SQLite's own speed test times, in our words. Each is executed size times with
// two random numbers from 1 to size, in one transaction unless each is its own.
var phases = []struct {
	name, prepare, sql string
	own                bool
}{
	{name: "insert", sql: "INSERT INTO plain VALUES(?1, ?2, 'row ' || ?1 || ' with number ' || ?2)",
		prepare: "CREATE TABLE plain(a INTEGER, b INTEGER, c TEXT)"},
	{name: "insert in order", sql: "INSERT INTO ordered VALUES(NULL, ?2, 'row ' || ?1 || ' with number ' || ?2)",
		prepare: "CREATE TABLE ordered(a INTEGER PRIMARY KEY, b INTEGER, c TEXT)"},
	{name: "insert indexed", sql: "INSERT INTO indexed VALUES(?1, ?2, 'row ' || ?1 || ' with number ' || ?2)",
		prepare: "CREATE TABLE indexed(a INTEGER, b INTEGER, c TEXT); CREATE INDEX ib ON indexed(b); CREATE INDEX ic ON indexed(c)"},
	{name: "insert, a transaction each", sql: "INSERT INTO plain VALUES(?1, ?2, 'alone')", own: true},
	{name: "index", prepare: "CREATE INDEX pa ON plain(a); CREATE INDEX pb ON plain(b)"},
	{name: "select range", sql: "SELECT count(*), avg(a) FROM indexed WHERE b BETWEEN ?1 AND ?1 + 10"},
	{name: "select text", sql: "SELECT count(*) FROM ordered WHERE a BETWEEN ?1 AND ?1 + 10 AND c LIKE '%' || ?2 || '%'"},
	{name: "select by key", sql: "SELECT c FROM ordered WHERE a = ?1"},
	{name: "join", sql: "SELECT count(*) FROM ordered JOIN indexed ON ordered.a = indexed.b WHERE ordered.a BETWEEN ?1 AND ?1 + 3"},
	{name: "update", sql: "UPDATE indexed SET a = a + ?2 WHERE b = ?1"},
	{name: "update by key, a transaction each", sql: "UPDATE ordered SET b = ?2 WHERE a = ?1", own: true},
	{name: "replace", sql: "REPLACE INTO ordered VALUES(?1, ?2, 'replaced')"},
	{name: "delete", sql: "DELETE FROM indexed WHERE b = ?1"},
	{name: "copy", prepare: "CREATE TABLE copied AS SELECT * FROM indexed; INSERT INTO copied SELECT * FROM indexed"},
	{name: "order", sql: "SELECT a FROM plain WHERE b >= ?1 ORDER BY b LIMIT 10"},
	{name: "vacuum", prepare: "VACUUM"},
	{name: "analyze", prepare: "ANALYZE"},
	{name: "drop", prepare: "DROP TABLE copied; DELETE FROM plain"},
}

// speed executes all phases and has SQLite check the file.
func speed(c *sqlite3.Conn, size int) error {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, p := range phases {
		if err := c.Exec(p.prepare); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if p.sql == "" {
			continue
		}
		if err := phase(c, p.sql, p.own, size, rng); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	verdict := ""
	err := query(c, "PRAGMA integrity_check", func(s *sqlite3.Stmt) { verdict += s.ColumnText(0) })
	if err == nil && verdict != "ok" {
		err = wrong("integrity check: %s", verdict)
	}
	return err
}

func phase(c *sqlite3.Conn, sql string, own bool, size int, rng *rand.Rand) (err error) {
	if own {
		size /= 20
	} else if err := c.Exec("BEGIN"); err != nil {
		return err
	}
	s, _, err := c.Prepare(sql)
	if err != nil {
		return err
	}
	for range size {
		for i := range s.BindCount() {
			if err := s.BindInt(i+1, 1+rng.IntN(size)); err != nil {
				return err
			}
		}
		for s.Step() {
		}
		if err := s.Reset(); err != nil {
			return err
		}
	}
	if err := s.Close(); err != nil || own {
		return err
	}
	return c.Exec("COMMIT")
}

// speedOn runs the speed test on a fresh file. The cache is small, so that pages come from the file system.
func speedOn(uri, mode string, size int) error {
	c, err := sqlite3.Open(uri)
	if err != nil {
		return err
	}
	pragmas := "PRAGMA cache_size=200; PRAGMA synchronous=FULL; PRAGMA journal_mode=" + mode
	if mode == "WAL" {
		pragmas = "PRAGMA locking_mode=EXCLUSIVE;" + pragmas // a VFS without shared memory
	}
	if err := c.Exec(pragmas); err != nil {
		return err
	}
	if err := speed(c, size); err != nil {
		return err
	}
	return c.Close()
}

// TestSpeed runs the speed test small.
func TestSpeed(t *testing.T) {
	v := Register(powercut.NewFS(t, 128<<20), Options{})
	defer v.Unregister()
	for _, mode := range []string{"DELETE", "WAL"} {
		require.NoError(t, speedOn(v.URI("/"+mode), mode, powercut.Rounds(500)))
	}
}

// BenchmarkSpeed runs the speed test on blobfs and on the host's file system. JUDGES_FOLDER is where the host keeps the
// image and the file, and should not be in memory.
func BenchmarkSpeed(b *testing.B) {
	folder, err := os.MkdirTemp(os.Getenv("JUDGES_FOLDER"), "judge-speed-")
	require.NoError(b, err)
	defer func() { require.NoError(b, os.RemoveAll(folder)) }()
	v := imageVFS(b, filepath.Join(folder, "image"))
	const size = 5000
	for _, mode := range []string{"DELETE", "WAL"} {
		n := 0
		b.Run("blobfs/"+mode, func(b *testing.B) {
			for b.Loop() {
				n++
				require.NoError(b, speedOn(v.URI(fmt.Sprint("/", mode, n)), mode, size))
			}
		})
		b.Run("host/"+mode, func(b *testing.B) {
			for b.Loop() {
				n++
				require.NoError(b, speedOn("file:"+filepath.Join(folder, fmt.Sprint(mode, n)), mode, size))
			}
		})
	}
}

// imageVFS is a VFS on an image file of the host.
func imageVFS(b *testing.B, image string) *VFS {
	dev, err := open.Device(image+"?size=4GiB", open.Options{Create: true})
	require.NoError(b, err)
	require.NoError(b, blobfs.Format(dev, blobfs.FormatOptions{}))
	fs, err := blobfs.Open(dev, blobfs.Options{})
	require.NoError(b, err)
	v := Register(fs, Options{})
	b.Cleanup(func() {
		v.Unregister()
		require.NoError(b, fs.Close())
		require.NoError(b, dev.Close())
	})
	return v
}
