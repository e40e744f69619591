package sqlite

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/blobkv/blobkv/internal/judges/powercut"
)

// workload runs random SQL and keeps the model of what it did.
type workload struct {
	rng *rand.Rand
	*connection
	now    world // as this connection sees it
	count  int64 // transactions so far; each leaves its number in the tables it changes
	scope  []int // tables that a transaction may change
	atomic bool  // a transaction over both files is one: WAL does not promise that
	onFile int   // tables of the first file only, where the two files may end at different moments

	committing func(world) // called before a COMMIT
	committed  func()      // called when it has returned
	last       string      // what was done last
}

const maxID = 120

// transaction is a random transaction that is committed or rolled back.
func (w *workload) transaction() error {
	w.scope = w.drawScope()
	before := w.now
	w.now = w.now.clone()
	if err := w.do("BEGIN " + pick(w.rng, "", "IMMEDIATE", "EXCLUSIVE")); err != nil {
		return err
	}
	w.count++
	for _, t := range w.scope {
		if err := w.put(t, 0, row{"count", w.count, ""}); err != nil {
			return err
		}
	}
	for range 1 + w.rng.IntN(8) {
		if err := w.nested(); err != nil {
			return err
		}
	}
	if w.rng.IntN(8) == 0 {
		w.now = before
		return w.do("ROLLBACK")
	}
	w.committing(w.now)
	if err := w.do("COMMIT"); err != nil {
		return err
	}
	w.committed()
	return nil
}

// drawScope keeps to one file where two would not be one transaction.
func (w *workload) drawScope() []int {
	switch {
	case w.atomic && w.rng.IntN(3) == 0:
		return []int{0, 1, 2}
	case w.onFile == 0 && w.rng.IntN(3) == 0:
		return []int{mainTables}
	}
	return []int{0, 1}
}

// nested is a statement, or a savepoint around some that is released or rolled back.
func (w *workload) nested() error {
	if w.rng.IntN(6) > 0 {
		return w.statement()
	}
	before := w.now
	w.now = w.now.clone()
	if err := w.do("SAVEPOINT s"); err != nil {
		return err
	}
	for range 1 + w.rng.IntN(4) {
		if err := w.statement(); err != nil {
			return err
		}
	}
	if w.rng.IntN(2) == 0 {
		w.now = before
		if err := w.do("ROLLBACK TO s"); err != nil {
			return err
		}
	}
	return w.do("RELEASE s")
}

func (w *workload) statement() error {
	t := pick(w.rng, w.scope...)
	switch w.rng.IntN(14) {
	case 0:
		return w.remove(t)
	case 1:
		return w.retag(t)
	case 2:
		return w.add(t)
	case 3:
		return w.copyRows(pick(w.rng, w.scope...), t)
	case 4:
		return w.index(t)
	}
	return w.put(t, 1+w.rng.Int64N(maxID), row{w.tag(), w.rng.Int64N(1000), w.data()})
}

func (w *workload) tag() string { return fmt.Sprint("tag", w.rng.IntN(8)) }

// data is short mostly; the long ones need overflow pages, and the longest make blobfs sync them in another way.
func (w *workload) data() string {
	n := w.rng.IntN(300)
	switch w.rng.IntN(100) {
	case 0:
		n = w.rng.IntN(500_000)
	case 1, 2, 3, 4, 5, 6, 7, 8, 9:
		n = w.rng.IntN(20_000)
	}
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(w.rng.Uint32())
	}
	return string(p)
}

func (w *workload) do(sql string, args ...any) error {
	w.last = sql
	return exec(w.Conn, sql, args...)
}

func (w *workload) put(t int, id int64, r row) error {
	w.now[t][id] = r
	return w.do("REPLACE INTO "+tables[t]+" VALUES(?, ?, ?, ?)", id, r.tag, r.n, []byte(r.data))
}

// span is a random range of ids.
func (w *workload) span() (from, to int64) {
	from = 1 + w.rng.Int64N(maxID)
	return from, from + w.rng.Int64N(1<<w.rng.IntN(7))
}

func (w *workload) remove(t int) error {
	from, to := w.span()
	for id := from; id <= to; id++ {
		delete(w.now[t], id)
	}
	return w.do("DELETE FROM "+tables[t]+" WHERE id BETWEEN ? AND ?", from, to)
}

func (w *workload) retag(t int) error {
	from, to := w.tag(), w.tag()
	for id, r := range w.now[t] {
		if r.tag == from {
			r.tag = to
			w.now[t][id] = r
		}
	}
	return w.do("UPDATE "+tables[t]+" SET tag = ? WHERE tag = ?", to, from)
}

func (w *workload) add(t int) error {
	from, to := w.span()
	n := w.rng.Int64N(100)
	for id := from; id <= to; id++ {
		if r, ok := w.now[t][id]; ok {
			r.n += n
			w.now[t][id] = r
		}
	}
	return w.do("UPDATE "+tables[t]+" SET n = n + ? WHERE id BETWEEN ? AND ?", n, from, to)
}

func (w *workload) copyRows(src, dst int) error {
	from, to := w.span()
	for id := from; id <= to; id++ {
		if r, ok := w.now[src][id]; ok {
			w.now[dst][id] = r
		}
	}
	return w.do("REPLACE INTO "+tables[dst]+" SELECT * FROM "+tables[src]+" WHERE id BETWEEN ? AND ?", from, to)
}

// index makes or drops an index over the long column.
func (w *workload) index(t int) error {
	file, name, _ := strings.Cut(tables[t], ".")
	if w.rng.IntN(2) == 0 {
		return w.do(fmt.Sprintf("DROP INDEX IF EXISTS %s.%s_data", file, name))
	}
	return w.do(fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s.%s_data ON %s(data, n)", file, name, name))
}

// maintain is what runs outside of transactions and changes no row.
func (w *workload) maintain() error {
	file := pick(w.rng, "main", "aux")
	switch w.rng.IntN(5) {
	case 0:
		return w.do("VACUUM " + file)
	case 1:
		return w.do("PRAGMA " + file + ".incremental_vacuum(10)")
	case 2:
		return w.do("PRAGMA " + file + ".wal_checkpoint(" + pick(w.rng, "PASSIVE", "FULL", "RESTART", "TRUNCATE") + ")")
	case 3:
		return w.do("REINDEX")
	}
	w.last = "compare"
	return requireSame(w.Conn, w.now)
}

// step is mostly a transaction.
func (w *workload) step() error {
	if w.rng.IntN(8) == 0 {
		return w.maintain()
	}
	return w.transaction()
}

// wrong is an error that no lack of power excuses.
func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{powercut.ErrWrong}, args...)...)
}
