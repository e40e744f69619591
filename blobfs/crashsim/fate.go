package crashsim

import (
	"fmt"
	"math/rand/v2"

	"github.com/blobkv/blobkv/bdev/crashbdev"
)

// fate is one thing that a power cut may do to the writes that no flush has covered.
type fate struct {
	name string
	cut  func(d *crashbdev.Disk) *crashbdev.Disk
}

// subsetLimit is the number of unflushed writes up to which every subset of them is tried.
const subsetLimit = 4

// everyFate is all that may happen to n unflushed writes, as far as it can be counted out, and draws from the rest: for
// few writes every subset, for many the extremes, and each of some lost or kept alone.
func everyFate(n int, rng *rand.Rand) []fate {
	if n == 0 {
		return []fate{keeping(0, 0)}
	}
	fates := []fate{drawn(crashbdev.TornOnly, rng), drawn(crashbdev.Random, rng), drawn(crashbdev.Random, rng)}
	if n <= subsetLimit {
		for kept := range uint64(1) << n {
			fates = append(fates, keeping(n, kept))
		}
		return fates
	}
	fates = append(fates, drawn(crashbdev.LoseAll, rng), drawn(crashbdev.KeepAll, rng), drawn(crashbdev.ReorderOnly, rng))
	for range subsetLimit {
		fates = append(fates, drawn(crashbdev.Random, rng), onlyOne(rng.IntN(n), true), onlyOne(rng.IntN(n), false))
	}
	return fates
}

// anyFate is one of what may happen.
func anyFate(n int, rng *rand.Rand) fate {
	if n > 0 && rng.IntN(4) == 0 {
		return onlyOne(rng.IntN(n), rng.IntN(2) == 0)
	}
	modes := crashbdev.Modes()
	if rng.IntN(2) == 0 {
		modes = modes[:1] // random: most of what can happen is of this kind
	}
	return drawn(modes[rng.IntN(len(modes))], rng)
}

func drawn(mode crashbdev.Mode, rng *rand.Rand) fate {
	seed := rng.Uint64()
	return fate{
		fmt.Sprintf("%v, seed %#x", mode, seed),
		func(d *crashbdev.Disk) *crashbdev.Disk { return d.Cut(mode, seed) },
	}
}

// keeping lets the writes land whose bit is set.
func keeping(n int, kept uint64) fate {
	return fate{
		fmt.Sprintf("of %d unflushed writes %0*b are kept (the first one is the lowest bit)", n, n, kept),
		func(d *crashbdev.Disk) *crashbdev.Disk {
			return d.CutKeeping(func(i int) bool { return kept>>i&1 == 1 })
		},
	}
}

// onlyOne keeps, or loses, write i alone.
func onlyOne(i int, kept bool) fate {
	return fate{
		fmt.Sprintf("unflushed write %d alone is kept: %v", i, kept),
		func(d *crashbdev.Disk) *crashbdev.Disk {
			return d.CutKeeping(func(k int) bool { return (k == i) == kept })
		},
	}
}
