package sqlite

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/embed"

	"github.com/blobkv/blobkv/internal/judges/powercut"
)

// row is what every table holds under an id.
type row struct {
	tag  string
	n    int64
	data string
}

// world is the model of all tables, in the order of tables.
type world [3]map[int64]row

// tables are two tables of one file, one of them without row ids, and one of an attached file.
var tables = [len(world{})]string{"main.a", "main.b", "aux.c"}

const mainTables = 2 // the first ones

// schema is executed whenever the files are opened.
const schema = `
	CREATE TABLE IF NOT EXISTS main.a(id INTEGER PRIMARY KEY, tag TEXT, n INTEGER, data BLOB);
	CREATE TABLE IF NOT EXISTS main.b(id INTEGER PRIMARY KEY, tag TEXT, n INTEGER, data BLOB) WITHOUT ROWID;
	CREATE TABLE IF NOT EXISTS aux.c(id INTEGER PRIMARY KEY, tag TEXT, n INTEGER, data BLOB);
	CREATE INDEX IF NOT EXISTS main.a_tag ON a(tag, n);
	CREATE INDEX IF NOT EXISTS main.b_tag ON b(tag);
	CREATE INDEX IF NOT EXISTS aux.c_tag ON c(tag, n);`

func (w world) clone() world {
	for i := range w {
		w[i] = maps.Clone(w[i])
		if w[i] == nil {
			w[i] = map[int64]row{}
		}
	}
	return w
}

// differs says where two worlds differ first, "" if they do not.
func (w world) differs(got world) string {
	for i, name := range tables {
		if have, want := keys(got[i]), keys(w[i]); !slices.Equal(have, want) {
			return fmt.Sprintf("%s has ids %v, want %v", name, have, want)
		}
		for id, r := range w[i] {
			if g := got[i][id]; g != r {
				return fmt.Sprintf("%s id %d: tag %q n %d %d bytes, want tag %q n %d %d bytes",
					name, id, g.tag, g.n, len(g.data), r.tag, r.n, len(r.data))
			}
		}
	}
	return ""
}

func keys(t map[int64]row) []int64 { return slices.Sorted(maps.Keys(t)) }

// readWorld reads all tables.
func readWorld(c *sqlite3.Conn) (world, error) {
	got := world{}.clone()
	for i, name := range tables {
		err := query(c, "SELECT id, tag, n, data FROM "+name, func(s *sqlite3.Stmt) {
			got[i][s.ColumnInt64(0)] = row{s.ColumnText(1), s.ColumnInt64(2), string(s.ColumnRawBlob(3))}
		})
		if err != nil {
			return got, err
		}
	}
	return got, nil
}

// requireSame compares the tables with the model, and sums that SQLite takes from an index.
func requireSame(c *sqlite3.Conn, w world) error {
	got, err := readWorld(c)
	if err != nil {
		return err
	}
	if why := w.differs(got); why != "" {
		return fmt.Errorf("%w: %s", powercut.ErrWrong, why)
	}
	for i, name := range tables {
		sums := map[string]int64{}
		for _, r := range w[i] {
			sums[r.tag] += r.n
		}
		got := map[string]int64{}
		err := query(c, "SELECT tag, sum(n) FROM "+name+" GROUP BY tag", func(s *sqlite3.Stmt) {
			got[s.ColumnText(0)] = s.ColumnInt64(1)
		})
		if err != nil {
			return err
		}
		if !maps.Equal(got, sums) {
			return fmt.Errorf("%w: %s: sums by tag are %v, want %v", powercut.ErrWrong, name, got, sums)
		}
	}
	return nil
}

// requireIntact runs SQLite's own check of both files.
func requireIntact(c *sqlite3.Conn) error {
	for _, file := range []string{"main", "aux"} {
		var findings []string
		err := query(c, "PRAGMA "+file+".integrity_check", func(s *sqlite3.Stmt) {
			findings = append(findings, s.ColumnText(0))
		})
		if err != nil {
			return fmt.Errorf("integrity check of %s: %w", file, err)
		}
		if !slices.Equal(findings, []string{"ok"}) {
			return fmt.Errorf("%w: integrity check of %s: %q", powercut.ErrWrong, file, findings)
		}
	}
	return nil
}

// exec runs one statement with parameters.
func exec(c *sqlite3.Conn, sql string, args ...any) error {
	return query(c, sql, func(*sqlite3.Stmt) {}, args...)
}

// query runs one statement and visits its rows.
func query(c *sqlite3.Conn, sql string, visit func(*sqlite3.Stmt), args ...any) (err error) {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return err
	}
	defer func() {
		if e := s.Close(); err == nil {
			err = e
		}
	}()
	for i, arg := range args {
		if err := bind(s, i+1, arg); err != nil {
			return err
		}
	}
	for s.Step() {
		visit(s)
	}
	return s.Err()
}

func bind(s *sqlite3.Stmt, i int, arg any) error {
	switch arg := arg.(type) {
	case int64:
		return s.BindInt64(i, arg)
	case int:
		return s.BindInt(i, arg)
	case string:
		return s.BindText(i, arg)
	case []byte:
		return s.BindBlob(i, arg)
	}
	return fmt.Errorf("cannot bind a %T", arg)
}
