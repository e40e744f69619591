package goleveldb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/opt"

	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/internal/judges/powercut"
)

// TestPowerCuts: after a power cut goleveldb opens with every strict flag, what was written with Sync is there, and no
// batch is there in part.
func TestPowerCuts(t *testing.T) {
	powercut.Run(t, 50, func(rng *rand.Rand) powercut.App {
		return &crashApp{rng: rng, options: options(rng), base: map[string]string{}}
	})
}

// crashApp is the workload, and what may be left of it.
type crashApp struct {
	rng     *rand.Rand
	options *opt.Options
	base    map[string]string // what was there when the life began
	batches []*batch          // tried since
	count   int
	last    string
}

func (a *crashApp) String() string {
	return fmt.Sprintf("%d batches, last: %s", len(a.batches), a.last)
}

// Prepare implements powercut.App. A goleveldb that loses power while it is made refuses to open from then on.
func (a *crashApp) Prepare(fs *blobfs.FS) error { return a.Recover(fs) }

// Work implements powercut.App.
func (a *crashApp) Work(fs *blobfs.FS) (err error) {
	a.last = "open"
	db, err := open(fs, a.options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w := &workload{rng: a.rng, db: db, now: map[string]string{}, count: a.count}
	(&batch{changes: a.base}).apply(w.now)
	for range 250 {
		err = w.step()
		a.batches, a.count, a.last = w.batches, w.count, w.last
		if err != nil {
			return err
		}
	}
	return nil
}

// Recover implements powercut.App.
func (a *crashApp) Recover(fs *blobfs.FS) error {
	db, err := open(fs, a.options)
	if err != nil {
		return err
	}
	_, err = dump(db)
	return errors.Join(err, db.Close())
}

// Judge implements powercut.App.
func (a *crashApp) Judge(fs *blobfs.FS) (err error) {
	db, err := open(fs, a.options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	got, err := dump(db)
	if err != nil {
		return err
	}
	if err := a.judge(got); err != nil {
		return err
	}
	a.base, a.batches = got, nil
	return requireSame(db, got)
}

// judge looks at each key, and then at each batch of which something is there. A batch without Sync may be lost, also
// when later ones are not: it may have been in an older journal.
func (a *crashApp) judge(got map[string]string) error {
	all := append([]*batch{{changes: a.complete(), synced: true}}, a.batches...)
	newest := map[string]int{} // key: the newest batch that its value can be of
	for key := range all[0].changes {
		from, least := source(all, key, got[key])
		if from < least {
			return wrong("%s is %.20q, older than batch %d of %d, which was synced", key, got[key], least, len(all))
		}
		newest[key] = from
	}
	for i, b := range all {
		if !b.shown(got) {
			continue
		}
		for key := range b.changes {
			if newest[key] < i {
				return wrong("batch %d of %d is there without its %s, which is %.20q", i, len(all), key, got[key])
			}
		}
	}
	return nil
}

// complete is the base with every key that is not in it as deleted.
func (a *crashApp) complete() map[string]string {
	all := map[string]string{}
	for i := range keys {
		key := fmt.Sprintf("key%03d", i)
		all[key] = a.base[key]
	}
	return all
}

// source returns the newest batch that a key's value can be of, -1 if there is none, and the newest one that was synced.
func source(all []*batch, key, value string) (from, least int) {
	from = -1
	for i, b := range all {
		v, changed := b.changes[key]
		if changed && v == value {
			from = i
		}
		if changed && b.synced {
			least = i
		}
	}
	return from, least
}

// shown reports whether a value of the batch is there.
func (b *batch) shown(got map[string]string) bool {
	for key, value := range b.changes {
		if value != "" && got[key] == value {
			return true
		}
	}
	return false
}
