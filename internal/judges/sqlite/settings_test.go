package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/blobkv/blobkv/blobfs"
)

// settings are what one connection to both files is opened with.
type settings struct {
	journal    string // journal_mode; "" leaves it as it is
	sync       string // synchronous
	pageSize   int    // of files that do not exist
	vacuum     string // auto_vacuum of files that do not exist
	cachePages int    // a small cache makes transactions spill into the file before they commit
	safeAppend bool
	exclusive  bool // locking_mode: no shared memory for WAL
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// drawFixed draws what stays for the life of the files. SafeAppend stays too, because a journal that was left to be
// overwritten would contradict it later.
func drawFixed(rng *rand.Rand) settings {
	return settings{
		pageSize:   pick(rng, 512, 1024, 4096, 4096, 16384),
		vacuum:     pick(rng, "NONE", "FULL", "INCREMENTAL"),
		safeAppend: rng.IntN(2) == 0,
	}
}

// draw draws what may change whenever the files are opened.
func (s settings) draw(rng *rand.Rand) settings {
	modes := []string{"DELETE", "TRUNCATE", "WAL", "WAL", "PERSIST"}
	s.cachePages = pick(rng, 5, 20, 500)
	s.exclusive = rng.IntN(2) == 0 || !vfs.SupportsSharedMemory
	if s.safeAppend { // see DeviceCharacteristics; exclusive locking overwrites journals as PERSIST does
		s.exclusive = !vfs.SupportsSharedMemory
		modes = modes[:len(modes)-1]
	}
	s.journal = pick(rng, modes...)
	s.sync = pick(rng, "FULL", "EXTRA")
	if s.journal == "WAL" {
		s.sync = pick(rng, "FULL", "FULL", "NORMAL")
	}
	return s
}

func (s settings) pragmas() string {
	locking, mode := "NORMAL", ""
	if s.exclusive {
		locking = "EXCLUSIVE"
	}
	if s.journal != "" {
		mode = "PRAGMA journal_mode=" + s.journal + ";"
	}
	each := ""
	for _, file := range []string{"main", "aux"} {
		each += fmt.Sprintf("PRAGMA %s.synchronous=%s; PRAGMA %s.cache_size=%d;", file, s.sync, file, s.cachePages)
	}
	return fmt.Sprintf(`PRAGMA locking_mode=%s; PRAGMA main.page_size=%d; PRAGMA aux.page_size=%d;
		PRAGMA main.auto_vacuum=%s; PRAGMA aux.auto_vacuum=%s; %s PRAGMA wal_autocheckpoint=40; %s`,
		locking, s.pageSize, s.pageSize, s.vacuum, s.vacuum, mode, each)
}

// connection is SQLite on both files of a blobfs.
type connection struct {
	*sqlite3.Conn
	vfs    *VFS
	folder string // of the host, for shared memory
}

// connect opens both files, makes them where they are not, and recovers them.
func connect(fs *blobfs.FS, s settings) (*connection, error) {
	o := Options{SafeAppend: s.safeAppend}
	if !s.exclusive {
		folder, err := os.MkdirTemp("", "judge-shm-")
		if err != nil {
			return nil, err
		}
		o.SharedFolder = folder
	}
	c := &connection{vfs: Register(fs, o), folder: o.SharedFolder}
	if err := c.open(s); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *connection) open(s settings) (err error) {
	if c.Conn, err = sqlite3.Open(c.vfs.URI("/main.db")); err != nil {
		return err
	}
	if err := c.Exec("PRAGMA locking_mode=EXCLUSIVE"); s.exclusive && err != nil {
		return err
	}
	if err := exec(c.Conn, "ATTACH ? AS aux", c.vfs.URI("/aux.db")); err != nil {
		return err
	}
	if err := c.Exec(s.pragmas()); err != nil {
		return err
	}
	return c.Exec(schema)
}

// Close closes the files and removes what the host had.
func (c *connection) Close() error {
	var err error
	if c.Conn != nil {
		err = c.Conn.Close()
	}
	c.vfs.Unregister()
	return errors.Join(err, os.RemoveAll(c.folder))
}
