package vfsadapter

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobkv/blobkv/blobfs"
)

// LogCheck judges the write-ahead logs that Pebble replays when it opens a store, as Pebble opens them: those alone and in
// order. Pebble takes a damaged record for the end of the log where nothing behind it in a later block of the log tells
// better, and opens without what follows.
//
// A log is damaged if a chunk behind the first bad one says that the bad one was durable, if it is not closed although a
// later log was begun, or if it ends before the offset that Ends has. What a crash leaves is none of these: behind a torn
// record there may be others, and the chunks of the log's former life, but none that was written when the torn one was durable.
type LogCheck struct {
	// Ends are the offsets where the records of logs end that were closed; by base name.
	Ends map[string]int64

	// Cut lets Pebble see a damaged log up to the damage, and no later log, instead of failing to open it.
	Cut bool

	// Damaged hears of a log that was cut. May be nil.
	Damaged func(*LogDamage)

	// Room is asked before a log is replayed, with the bytes of the records that will have been by then. Its error fails the
	// replay before anything is written. Nil: there is room.
	Room func(n int64) error

	newest uint64 // number of the newest log there is
	bytes  int64  // of records in the logs that were opened
	cut    bool   // a log was cut: the later ones are empty
}

// LogDamage is the error of a log that has lost records. It is a blobfs.ErrCorrupt.
type LogDamage struct {
	Name   string // of the file
	Offset int64  // in the file, of the first damaged byte or at most one record before it
	Why    string // how it is known
}

func (d *LogDamage) Error() string {
	return fmt.Sprintf("log %s is damaged at byte %d: %s", d.Name, d.Offset, d.Why)
}

// Unwrap makes it a blobfs.ErrCorrupt.
func (d *LogDamage) Unwrap() error { return blobfs.ErrCorrupt }

// CheckLogs has c judge every log in dir that is opened for reading from now on; nil ends that. Only one store opens at
// a time, and nobody writes a log meanwhile.
func (a *FS) CheckLogs(dir string, c *LogCheck) error {
	if c != nil {
		names, err := a.List(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if num, ok := logNumber(name); ok {
				c.newest = max(c.newest, num)
			}
		}
	}
	a.logs.Store(c)
	return nil
}

// ClosedEnd returns the offset where the records of a log end. False if it was not closed: somebody is writing it, or a
// crash has ended that.
func (a *FS) ClosedEnd(name string) (int64, bool, error) {
	num, ok := logNumber(path.Base(name))
	if !ok {
		return 0, false, nil
	}
	s, err := a.scanLog(name, num)
	return s.end, s.closed, err
}

// scanLog scans a log by name.
func (a *FS) scanLog(name string, num uint64) (logScan, error) {
	f, err := a.fs.Open(name)
	if err != nil {
		return logScan{}, pathError("open", name, err)
	}
	f.SetSequential()
	s, err := scanLog(f, uint32(num))
	return s, ioError("read", name, errors.Join(err, f.Close()))
}

// logNumber reads the name of a log, "000123.log". Logs in several parts are not made here.
func logNumber(base string) (uint64, bool) {
	digits, ok := strings.CutSuffix(base, ".log")
	if !ok {
		return 0, false
	}
	num, err := strconv.ParseUint(digits, 10, 64)
	return num, err == nil
}

// checked judges a log that is opened while there is a LogCheck, and passes every other file on.
func (a *FS) checked(f vfs.File, name string) (vfs.File, error) {
	c := a.logs.Load()
	num, isLog := logNumber(path.Base(name))
	if c == nil || !isLog {
		return f, nil
	}
	end, err := c.judge(a, name, num)
	if err != nil {
		_ = f.Close() // of reading
		return nil, err
	}
	if end < 0 {
		return f, nil
	}
	return &cutFile{File: f, rest: end}, nil
}

// judge returns how much of a log may be replayed, -1 for all there is.
func (c *LogCheck) judge(a *FS, name string, num uint64) (int64, error) {
	if c.cut {
		return 0, nil
	}
	s, err := a.scanLog(name, num) // through a handle of its own: Pebble reads from the start
	if err != nil {
		return 0, err
	}
	c.bytes += s.end
	damage := c.damage(&s, name, num)
	if damage == nil {
		if c.Room != nil {
			return -1, c.Room(c.bytes)
		}
		return -1, nil
	}
	if !c.Cut {
		return 0, damage
	}
	c.cut = true
	if c.Damaged != nil {
		c.Damaged(damage)
	}
	return s.end, nil
}

// damage says what is wrong with a log, or nil.
func (c *LogCheck) damage(s *logScan, name string, num uint64) *LogDamage {
	d := &LogDamage{Name: name, Offset: s.stop}
	switch end, known := c.Ends[path.Base(name)]; {
	case s.proof >= 0:
		d.Why = fmt.Sprintf("the record at byte %d was written when it was durable", s.proof)
	case known && s.end < end:
		d.Why = fmt.Sprintf("it was closed with records up to byte %d", end)
	case !s.closed && num < c.newest:
		d.Why = "it does not end as a log does that another one follows"
	default:
		return nil
	}
	return d
}

// cutFile is a log of which only the first bytes are there.
type cutFile struct {
	vfs.File
	rest int64
}

func (f *cutFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p[:min(int64(len(p)), f.rest)])
	f.rest -= int64(n)
	if err == nil && n == 0 && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}
