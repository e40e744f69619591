package crashsim

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobfs"
)

// The states that the files /a and /b may be in before a sequence, by name: how each comes about.
var (
	beforeA = map[string][]Op{
		"absent":   nil,
		"empty":    {{Kind: Create, Name: "/a"}, {Kind: SyncDir}},
		"synced":   {{Kind: Create, Name: "/a"}, {Kind: Append, Name: "/a", N: 5000}, {Kind: Sync, Name: "/a"}},
		"unsynced": {{Kind: Create, Name: "/a"}, {Kind: Append, Name: "/a", N: 5000}},
	}
	beforeB = map[string][]Op{
		"absent": nil,
		"synced": {{Kind: Create, Name: "/b"}, {Kind: Append, Name: "/b", N: 3000}, {Kind: Sync, Name: "/b"}},
	}
)

// alphabet is what sequences are made of: each operation in the sizes that take different ways through the code.
var alphabet = []Op{
	{Kind: Create, Name: "/a"},
	{Kind: Create, Name: "/b"},
	{Kind: Append, Name: "/a", N: 100},     // within the tail block
	{Kind: Append, Name: "/a", N: 5000},    // over a block
	{Kind: Append, Name: "/a", N: 300_000}, // more than one sync vouches for
	{Kind: Append, Name: "/b", N: 5000},
	{Kind: Overwrite, Name: "/a", N: 10, At: 4200},  // of the tail block
	{Kind: Overwrite, Name: "/a", N: 100, At: 4950}, // and beyond the end
	{Kind: Overwrite, Name: "/a", N: 50, At: 9000},  // behind a gap
	{Kind: Truncate, Name: "/a", N: 3000},
	{Kind: Preallocate, Name: "/a", N: 200_000},
	{Kind: WriteBack, Name: "/a"},
	{Kind: Sync, Name: "/a"},
	{Kind: Sync, Name: "/b"},
	{Kind: SyncDir},
	{Kind: Rename, Name: "/a", To: "/c"},
	{Kind: Rename, Name: "/a", To: "/b"}, // over it, where there is one
	{Kind: Rename, Name: "/b", To: "/a"},
	{Kind: Link, Name: "/a", To: "/c"},
	{Kind: Remove, Name: "/a"},
	{Kind: Remove, Name: "/b"},
	{Kind: Reuse, Name: "/a", To: "/c"},
	{Kind: Close, Name: "/a"},
}

// Sequence is a short case: two files in a state each, then operations.
type Sequence struct {
	A, B string
	Ops  []Op
}

// String is the form that ParseSequence reads.
func (s Sequence) String() string { return fmt.Sprintf("%s %s: %s", s.A, s.B, FormatOps(s.Ops)) }

// ParseSequence reads what String wrote.
func ParseSequence(text string) (Sequence, error) {
	head, tail, ok := strings.Cut(text, ":")
	states := strings.Fields(head)
	if !ok || len(states) != 2 {
		return Sequence{}, fmt.Errorf("crashsim: %q: want \"STATE-OF-A STATE-OF-B: OPERATION; OPERATION\"", text)
	}
	s := Sequence{A: states[0], B: states[1]}
	if _, ok := beforeA[s.A]; !ok {
		return s, fmt.Errorf("crashsim: /a cannot be %q", s.A)
	}
	if _, ok := beforeB[s.B]; !ok {
		return s, fmt.Errorf("crashsim: /b cannot be %q", s.B)
	}
	var err error
	s.Ops, err = ParseOps(tail)
	return s, err
}

// Sequences are all sequences of n operations from every state.
func Sequences(n int) []Sequence {
	var list []Sequence
	for _, a := range []string{"absent", "empty", "synced", "unsynced"} {
		for _, b := range []string{"absent", "synced"} {
			for _, ops := range sequencesOf(n) {
				list = append(list, Sequence{a, b, ops})
			}
		}
	}
	return list
}

func sequencesOf(n int) [][]Op {
	if n == 0 {
		return [][]Op{nil}
	}
	var list [][]Op
	for _, ops := range sequencesOf(n - 1) {
		for _, op := range alphabet {
			list = append(list, append(slices.Clone(ops), op))
		}
	}
	return list
}

// RunSequences cuts the power everywhere in every sequence.
func RunSequences(ctx context.Context, list []Sequence, o Options) (Counts, error) {
	image, err := baseImage(crashbdev.Options{})
	if err != nil {
		return Counts{}, err
	}
	base := crashbdev.FromImage(image, crashbdev.Options{}) // a disk, unlike an image, is for any goroutine
	var done counts
	err = each(ctx, o.Workers, len(list), func(i int) error {
		err := list[i].run(base, &o, &done)
		o.report(&done)
		return err
	})
	return done.now(), err
}

// run cuts the power before and after every flush and operation. The names are synced at the end, since otherwise
// nothing of most operations would ever be written.
func (s Sequence) run(base *crashbdev.Disk, o *Options, done *counts) error {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.String()))
	rng := rand.New(rand.NewPCG(o.Seed, h.Sum64()))
	cuts, did, err := s.cuts(base, o, rng)
	if err != nil {
		return s.failure(o.Seed, "during the sequence, not at all", err)
	}
	if !did {
		return nil
	}
	done.cases.Add(1)
	v := verifier{rng: rng, deep: thoroughness{oneIn: 16}, counts: done}
	for i := range cuts {
		if _, _, err := v.verify(&cuts[i], crashbdev.Options{}); err != nil {
			return s.failure(o.Seed, cuts[i].where, err)
		}
	}
	return nil
}

func (s Sequence) failure(seed uint64, where string, err error) error {
	trace := slices.Concat(beforeB[s.B], beforeA[s.A], s.Ops, []Op{{Kind: SyncDir}})
	return &Failure{Case: fmt.Sprintf("-seed %d -case %q", seed, s), Trace: trace, Where: where, Err: err}
}

// cuts carries the sequence out. did is false if one of its operations made no sense.
func (s Sequence) cuts(base *crashbdev.Disk, o *Options, rng *rand.Rand) (cuts []cut, did bool, err error) {
	disk := crashbdev.FromImage(base.Snapshot(), crashbdev.Options{})
	t := &tape{disk: disk, lyingFlush: o.lyingFlush}
	everywhere := func(p place, unflushed int) []fate {
		if p == beforeWrite {
			return nil // the subsets of the whole window are those of its beginning too
		}
		return everyFate(unflushed, rng)
	}
	err = t.live(func(fs *blobfs.FS) error {
		r := newRunner(t, fs, "/", tree{}, 1)
		for _, op := range slices.Concat(beforeB[s.B], beforeA[s.A]) {
			if _, err := r.do(op); err != nil {
				return err
			}
		}
		cuts, err = t.run(everywhere, func() (err error) {
			did, err = r.doAll(append(slices.Clone(s.Ops), Op{Kind: SyncDir}))
			return err
		})
		return err
	})
	return cuts, did, err
}

// doAll carries out operations until one makes no sense.
func (r *runner) doAll(ops []Op) (did bool, err error) {
	for _, op := range ops {
		if did, err = r.do(op); !did || err != nil {
			return did, err
		}
	}
	return true, nil
}
