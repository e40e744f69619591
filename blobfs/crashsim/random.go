package crashsim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobfs"
)

const (
	livesOfDisk = 6   // lives of one disk, each beginning with what recovery made of the one before
	cutsOfLife  = 12  // about so many states are taken in each
	opsOfLife   = 160 // operations of each runner
	maxSize     = 700_000
)

// chain is one disk that loses power again and again.
type chain struct {
	seed    uint64
	rng     *rand.Rand
	options crashbdev.Options
	runners int
	image   *crashbdev.Image
	left    tree
	done    *counts
	lying   bool
	late    time.Duration // how long data may be under way while other goroutines flush; 0: not at all
}

// CutsOfSeed is about how many cuts RunRandom makes of one seed before it goes on to the next one.
const CutsOfSeed = livesOfDisk * cutsOfLife

// RunRandom makes n cuts, or a few more: of seed o.Seed about the first CutsOfSeed of them, then of the seed after it, and
// so on.
func RunRandom(ctx context.Context, n int, o Options) (Counts, error) {
	var done counts
	err := each(ctx, o.Workers, n, func(i int) error {
		if done.cuts.Load() >= int64(n) {
			return nil
		}
		c, err := newChain(o.Seed+uint64(i), &o, &done)
		for k := 0; err == nil && k < livesOfDisk && ctx.Err() == nil && done.cuts.Load() < int64(n); k++ {
			err = c.life(ctx)
			o.report(&done)
		}
		return err
	})
	return done.now(), err
}

func newChain(seed uint64, o *Options, done *counts) (*chain, error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	c := &chain{seed: seed, rng: rng, done: done, runners: 1, left: tree{}, lying: o.lyingFlush}
	c.options = crashbdev.Options{Sparse: rng.IntN(2) == 0}
	if rng.IntN(2) == 0 {
		c.options.CompletionSeed = rng.Uint64() | 1
	}
	if rng.IntN(3) == 0 {
		c.options.BlockSize, c.options.AtomicWriteUnit = 4096, 4096
	}
	if rng.IntN(4) == 0 {
		c.options.Size = smallDisk
	}
	if rng.IntN(4) == 0 {
		c.runners = 3
		c.late = time.Duration(rng.IntN(2)) * 200 * time.Microsecond
	}
	var err error
	c.image, err = baseImage(c.options, "/d", "/e", prefixOf(0), prefixOf(1), prefixOf(2))
	return c, err
}

// prefixOf is the directory of a runner that is not alone.
func prefixOf(runner int) string { return fmt.Sprintf("/w%d/", runner) }

// life works on the disk, cuts its power here and there, judges each cut and goes on from one of them.
func (c *chain) life(ctx context.Context) error {
	workload := make([][]Op, c.runners)
	for i := range workload {
		workload[i] = c.script(i).ops(opsOfLife)
	}
	c.done.cases.Add(1)
	err := c.try(ctx, workload, true)
	if err == nil {
		return nil
	}
	return c.shrink(ctx, workload, err)
}

// try runs a workload on the disk as it is. If goOn is set the disk is what recovery left afterwards.
func (c *chain) try(ctx context.Context, workload [][]Op, goOn bool) error {
	cuts, o, err := c.cuts(workload)
	if err != nil {
		return c.failure(workload, "during the work, not at all", err)
	}
	v := verifier{rng: c.rng, deep: thoroughness{again: 2, oneIn: 4}, counts: c.done}
	survivor := c.rng.IntN(max(1, len(cuts)))
	for i := range cuts {
		if ctx.Err() != nil {
			return nil
		}
		image, left, err := v.verify(&cuts[i], o)
		if err != nil {
			return c.failure(workload, cuts[i].where, err)
		}
		if goOn && i == survivor {
			c.image, c.left = image, left
		}
	}
	return nil
}

// cuts runs a workload, each part of it by a goroutine of its own.
func (c *chain) cuts(workload [][]Op) (cuts []cut, o crashbdev.Options, err error) {
	o = c.options
	t := &tape{disk: crashbdev.FromImage(c.image, o), lyingFlush: c.lying}
	odds := cutOdds(workload)
	rng := rand.New(rand.NewPCG(c.rng.Uint64(), 1)) // guarded by the tape
	sometimes := func(_ place, unflushed int) []fate {
		if rng.Float64() > odds {
			return nil
		}
		return []fate{anyFate(unflushed, rng)}
	}
	seed := c.rng.Uint64()
	if c.late > 0 {
		if t.late, err = newLateWrites(t.disk, c.late, seed); err != nil {
			return nil, o, err
		}
		defer t.late.close()
	}
	err = t.live(func(fs *blobfs.FS) error {
		runners := make([]*runner, len(workload))
		for i := range runners {
			runners[i] = newRunner(t, fs, c.prefix(i), c.left, seed+uint64(i)<<32)
		}
		cuts, err = t.run(sometimes, func() error { return together(runners, workload) })
		return err
	})
	return cuts, o, err
}

// cutOdds is the probability of a cut at one of the places that a workload comes by: its operations, and on average three
// device operations of each.
func cutOdds(workload [][]Op) float64 {
	n := 0
	for _, ops := range workload {
		n += len(ops)
	}
	return min(1, cutsOfLife/(3*float64(max(1, n))))
}

// together has every runner work through its part and returns the first error.
func together(runners []*runner, workload [][]Op) error {
	errs := make([]error, len(runners))
	var wg sync.WaitGroup
	for i, r := range runners {
		wg.Go(func() {
			for _, op := range workload[i] {
				if _, errs[i] = r.do(op); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// prefix is the part of the tree that a runner works in: all of it, if it is alone.
func (c *chain) prefix(runner int) string {
	if c.runners == 1 {
		return "/"
	}
	return prefixOf(runner)
}

func (c *chain) failure(workload [][]Op, where string, err error) error {
	f := &Failure{Case: fmt.Sprintf("-seed %d -cuts %d", c.seed, CutsOfSeed), Where: where, Err: err}
	for _, ops := range workload {
		f.Trace = append(f.Trace, ops...)
	}
	return f
}

// script draws operations. It does not know what became of those before: what makes no sense does nothing.
type script struct {
	rng   *rand.Rand
	names []string
	last  string // file of the operation before
}

func (c *chain) script(runner int) *script {
	s := &script{rng: rand.New(rand.NewPCG(c.rng.Uint64(), uint64(runner)))}
	dirs := []string{"/", "/d/", "/e/"}
	if c.runners > 1 {
		dirs = []string{prefixOf(runner)}
	}
	for _, dir := range dirs {
		for i := range 9 / (1 + len(dirs)) {
			s.names = append(s.names, dir+string(rune('a'+i)))
		}
	}
	return s
}

func (s *script) ops(n int) []Op {
	var ops []Op
	for len(ops) < n {
		ops = append(ops, s.next()...)
	}
	return ops
}

// weights says how often each kind is drawn.
var weights = [numKinds]int{
	Create: 6, Open: 2, Close: 5, Append: 16, Overwrite: 8, Truncate: 2, Preallocate: 1, Sync: 10, WriteBack: 3,
	SyncDir: 4, Rename: 6, Link: 3, Remove: 5, Reuse: 3,
}

// next is one operation, or a few that belong together.
func (s *script) next() []Op {
	name := s.name()
	switch s.rng.IntN(24) {
	case 0, 1:
		return s.log(name)
	case 2:
		return s.handOn(name)
	}
	op := Op{Kind: s.kind(), Name: name}
	switch op.Kind {
	case SyncDir:
		op.Name = ""
	case Rename, Link, Reuse:
		op.To = s.names[s.rng.IntN(len(s.names))]
	case Append:
		op.N = s.size()
	case Overwrite:
		op.N, op.At = s.size(), s.offset()
	case Truncate:
		op.N = s.offset()
	case Preallocate:
		op.N = s.rng.IntN(maxSize)
	}
	return []Op{op}
}

// log is what a write-ahead log does: appends that are synced one by one.
func (s *script) log(name string) []Op {
	var ops []Op
	for range 2 + s.rng.IntN(5) {
		ops = append(ops, Op{Kind: Append, Name: name, N: 1 + s.rng.IntN(900)}, Op{Kind: Sync, Name: name})
	}
	return ops
}

// handOn removes a file and writes another one with the space, after a flush that has nothing to do with either.
func (s *script) handOn(name string) []Op {
	a, b := s.names[s.rng.IntN(len(s.names))], s.names[s.rng.IntN(len(s.names))]
	return []Op{
		{Kind: Append, Name: a, N: 5000}, {Kind: Sync, Name: a}, {Kind: SyncDir},
		{Kind: Remove, Name: name}, {Kind: Overwrite, Name: a, N: 600}, {Kind: Sync, Name: a},
		{Kind: Create, Name: b}, {Kind: Append, Name: b, N: 9000}, {Kind: Close, Name: b},
	}
}

func (s *script) kind() Kind {
	total := 0
	for _, w := range weights {
		total += w
	}
	n := s.rng.IntN(total)
	for kind, w := range weights {
		if n -= w; n < 0 {
			return Kind(kind)
		}
	}
	panic("crashsim: the weights do not add up")
}

// name is mostly that of the operation before, so that something happens to a file.
func (s *script) name() string {
	if s.last == "" || s.rng.IntN(3) == 0 {
		s.last = s.names[s.rng.IntN(len(s.names))]
	}
	return s.last
}

// size is mostly that of a record, sometimes that of a table.
func (s *script) size() int {
	switch s.rng.IntN(12) {
	case 0:
		return 1 + s.rng.IntN(300_000)
	case 1, 2, 3:
		return 1 + s.rng.IntN(12_000)
	}
	return 1 + s.rng.IntN(600)
}

func (s *script) offset() int {
	if s.rng.IntN(8) == 0 {
		return s.rng.IntN(300_000)
	}
	return s.rng.IntN(12_000)
}
