package crashsim

import (
	"slices"
	"strings"
)

// Histories are sequences that are too long to come up among all of their length, each for a rule that breaks nowhere
// else, cut everywhere like the others.
func Histories() []Sequence {
	var list []Sequence
	for _, text := range histories {
		s, err := ParseSequence(text)
		if err != nil {
			panic(err)
		}
		list = append(list, s)
	}
	return append(list, checkpoints())
}

var histories = []string{
	// The flush of /b does not make the remove durable, so its clusters are not for /c yet.
	"synced synced: remove /a; overwrite /b 600 0; sync /b; create /c; append /c 9000; writeback /c; close /c",
	// The same space, given up by a truncation and by a rename over the file.
	"synced synced: append /a 90000; sync /a; truncate /a 100; overwrite /b 600 0; sync /b; append /b 90000; writeback /b; close /b",
	"synced synced: rename /b /a; overwrite /a 600 0; create /c; append /c 9000; writeback /c; close /c",
	// Bytes that the newest length vouches for are overwritten, cut off, or become zeros in a reused file.
	"synced absent: append /a 100; sync /a; overwrite /a 10 5050; writeback /a; append /a 9000; sync /a",
	"synced absent: append /a 100; sync /a; append /a 100; sync /a; overwrite /a 10 5050; close /a; syncdir",
	"synced absent: append /a 6000; sync /a; truncate /a 5500; overwrite /a 10 5400; close /a; sync /a",
	"synced absent: append /a 6000; sync /a; close /a; reuse /a /c; overwrite /c 100 0; sync /c; overwrite /c 6000 100; sync /c",
	// A file whose names come and go keeps its bytes, and a name alone does not bring any.
	"synced synced: link /a /c; remove /a; append /c 100; sync /c; rename /b /a; rename /c /b; sync /a; remove /b; syncdir",
	"unsynced synced: rename /b /c; rename /a /b; rename /c /a; sync /a; sync /b; rename /a /b",
	// A gap is zeros before the length covers it, also where another file's bytes were.
	"absent synced: remove /b; syncdir; create /a; overwrite /a 10 70000; sync /a; overwrite /a 10 200000; sync /a",
	// A crash after this one finds bytes behind the end of the file, which no later length may show.
	"synced absent: append /a 9000; writeback /a; truncate /a 5000; overwrite /a 1 8000; sync /a",
}

// checkpoints is long enough for the ring to go round more than once.
func checkpoints() Sequence {
	round := "append /a 300; sync /a; overwrite /b 200 100; sync /b; create /c; rename /c /d; link /d /e; remove /d; syncdir; remove /e"
	s, err := ParseSequence("synced synced: " + strings.Join(slices.Repeat([]string{round}, 24), ";"))
	if err != nil {
		panic(err)
	}
	return s
}
