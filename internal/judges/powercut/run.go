package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobfs"
)

// App is an application under judgement, with its memory of what it was promised. Every method leaves nothing open.
type App interface {
	// Prepare is called once, when there is power: it makes what the application cannot make twice.
	Prepare(fs *blobfs.FS) error
	// Work opens the application and uses it until its time is up or the power dies, which is an error.
	Work(fs *blobfs.FS) error
	// Recover opens the application after a power cut, does what a restart does, and closes it.
	Recover(fs *blobfs.FS) error
	// Judge is Recover that says what is wrong with the data. What it finds is where the next Work begins.
	Judge(fs *blobfs.FS) error
	// String says in which way it works and what it did last.
	String() string
}

// ErrWrong is in the error of an application that has found its data wrong; a lack of power excuses all others.
var ErrWrong = errors.New("wrong data")

const livesPerDisk = 5

// Run cuts the power under applications, a new one for each disk, JUDGES_CUTS times or as often as stated.
func Run(t *testing.T, cuts int, newApp func(*rand.Rand) App) {
	seed := Seed(t)
	cuts = Rounds(fromEnv(t, "JUDGES_CUTS", cuts))
	progress := newProgress(t.Name(), cuts)
	for n := 0; n < cuts; {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		r := &run{t: t, rng: rng, disk: newDisk(t, rng), app: newApp(rng)}
		require.NoError(t, r.live(r.app.Prepare))
		for range livesPerDisk {
			n++
			if err := r.life(); err != nil {
				t.Fatalf("cut %d, JUDGES_SEED=%d: %v: %v", n, seed, r.app, err)
			}
			progress.at(n)
		}
	}
	t.Logf("%d power cuts", cuts)
}

// run is one disk and its application.
type run struct {
	t    *testing.T
	rng  *rand.Rand
	disk *crashbdev.Disk
	app  App
}

// life works until the power is cut, recovers and judges.
func (r *run) life() error {
	work := 1 + r.rng.Int64N(1<<r.rng.IntN(12)) // writes and flushes, from the first ones to all of them
	err := r.powered(func(fs *blobfs.FS) error {
		r.disk.CutAfter(work)
		return r.app.Work(fs)
	})
	if err != nil {
		return err
	}
	for range r.rng.IntN(3) {
		r.disk.CutAfter(1 + r.rng.Int64N(1<<r.rng.IntN(7))) // while mounting, or later
		if err := r.powered(r.app.Recover); err != nil {
			return fmt.Errorf("recovery: %w", err)
		}
	}
	return r.judge()
}

// powered mounts and uses the file system until that is done or the power dies. The disk is then what the cut left.
func (r *run) powered(use func(*blobfs.FS) error) error {
	m, err := mount(r.disk)
	if err == nil {
		err = use(m.fs)
	}
	died := r.disk.PoweredOff()
	next := r.disk.Cut(crashbdev.Modes()[r.rng.IntN(len(crashbdev.Modes()))], r.rng.Uint64())
	r.disk.CutAfter(0)
	if m != nil {
		_ = m.close() // without power
	}
	r.disk = next
	if died && !errors.Is(err, ErrWrong) {
		return nil
	}
	return err
}

// judge has the file system and the application say what they think of the disk.
func (r *run) judge() error {
	if err := r.check(); err != nil {
		return err
	}
	if err := r.live(r.app.Judge); err != nil {
		return err
	}
	return r.check()
}

// live mounts, uses the file system and unmounts it, all with power.
func (r *run) live(use func(*blobfs.FS) error) error {
	m, err := mount(r.disk)
	if err != nil {
		return err
	}
	return errors.Join(use(m.fs), m.close())
}

func (r *run) check() error {
	dev, err := r.disk.Open("disk")
	if err != nil {
		return err
	}
	defer func() { _ = dev.Close() }() // nothing was written
	return check(dev)
}

// Seed returns the seed of a random test: JUDGES_SEED, or a new one. It is printed.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(fromEnv(t, "JUDGES_SEED", int(time.Now().UnixNano())))
	t.Logf("seed: JUDGES_SEED=%d", seed)
	return seed
}

// Rounds is how often a test does something, less with -short: compiled SQL under the race detector takes its time.
func Rounds(n int) int {
	if testing.Short() {
		return max(1, n/5)
	}
	return n
}

func fromEnv(t testing.TB, name string, standard int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// progress tells on standard error how far a long run is.
type progress struct {
	name  string
	total int
	next  time.Time
}

const progressEvery = 10 * time.Second

func newProgress(name string, total int) *progress {
	return &progress{name: name, total: total, next: time.Now().Add(progressEvery)}
}

func (p *progress) at(n int) {
	if now := time.Now(); now.After(p.next) {
		fmt.Fprintf(os.Stderr, "%s: %d of %d power cuts\n", p.name, n, p.total)
		p.next = now.Add(progressEvery)
	}
}
