package sqlite

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/internal/judges/powercut"
)

// TestPowerCuts: after a power cut SQLite finds its files sound, every transaction whose COMMIT has returned is there,
// and none is there in part.
func TestPowerCuts(t *testing.T) {
	random := crand.Reader
	defer func() { crand.Reader = random }()
	powercut.Run(t, 50, func(rng *rand.Rand) powercut.App {
		crand.Reader = seeded{rand.New(rand.NewPCG(rng.Uint64(), 0))} // SQLite takes salts and names from it
		return &crashApp{rng: rng, settings: drawFixed(rng).draw(rng), states: []world{world{}.clone()}}
	})
}

// crashApp is the workload, and the states in which a power cut may leave the files.
type crashApp struct {
	rng      *rand.Rand
	settings settings
	count    int64   // transactions so far
	states   []world // after each commit that was tried, oldest first
	floor    int     // the oldest one that is still possible
	last     string
}

func (a *crashApp) String() string {
	return fmt.Sprintf("%+v, %d transactions, last: %s", a.settings, a.count, a.last)
}

// Prepare implements powercut.App. SQLite may lose power while it makes its files.
func (a *crashApp) Prepare(*blobfs.FS) error { return nil }

// Work implements powercut.App.
func (a *crashApp) Work(fs *blobfs.FS) (err error) {
	a.settings = a.settings.draw(a.rng)
	a.last = "open"
	c, err := connect(fs, a.settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	w := &workload{rng: a.rng, connection: c, now: a.states[0], count: a.count}
	w.atomic = a.settings.journal != "WAL"
	if a.settings.sync == "NORMAL" {
		w.onFile = mainTables
	}
	w.committing = func(s world) { a.states = append(a.states, s) }
	w.committed = a.acknowledge
	for range 60 {
		err = w.step()
		a.last, a.count = w.last, w.count
		if err != nil {
			return err
		}
	}
	return nil
}

// acknowledge notes what SQLite promises when a COMMIT has returned: with synchronous=NORMAL nothing; where a commit is
// the removal of the journal, which only EXTRA syncs, that the transaction before this one will stay.
func (a *crashApp) acknowledge() {
	newest := len(a.states) - 1
	switch {
	case a.settings.sync == "NORMAL":
	case a.settings.sync == "FULL" && a.settings.journal == "DELETE" && !a.settings.exclusive:
		a.floor = newest - 1
	default:
		a.floor = newest
	}
}

// Recover implements powercut.App.
func (a *crashApp) Recover(fs *blobfs.FS) error {
	s := a.settings
	s.journal = "" // recovery is what is left of the mode it was in
	c, err := connect(fs, s)
	if err != nil {
		return err
	}
	_, err = readWorld(c.Conn)
	return errors.Join(err, c.Close())
}

// Judge implements powercut.App.
func (a *crashApp) Judge(fs *blobfs.FS) (err error) {
	s := a.settings
	s.journal = ""
	c, err := connect(fs, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := requireIntact(c.Conn); err != nil {
		return err
	}
	got, err := readWorld(c.Conn)
	if err != nil {
		return err
	}
	if err := a.adopt(got); err != nil {
		return err
	}
	return requireSame(c.Conn, a.states[0])
}

// adopt looks for the state that a cut has left, which is where the next life begins.
func (a *crashApp) adopt(got world) error {
	var why []string
	for i := len(a.states) - 1; i >= a.floor; i-- {
		bad := a.states[i].differs(got)
		if bad == "" {
			a.states, a.floor = a.states[i:i+1:i+1], 0
			return nil
		}
		if len(why) < 3 { // older ones differ more
			why = append(why, bad)
		}
	}
	return wrong("none of the %d possible states:\n%s", len(a.states)-a.floor, strings.Join(why, "\n"))
}

// seeded is a source of random bytes that a seed repeats.
type seeded struct{ rng *rand.Rand }

func (s seeded) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += 8 {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], s.rng.Uint64())
		copy(p[i:], b[:])
	}
	return len(p), nil
}
