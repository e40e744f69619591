package goleveldb

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/internal/judges/powercut"
)

// options are small, so that journals rotate and tables are compacted all the time, and strict.
func options(rng *rand.Rand) *opt.Options {
	return &opt.Options{
		Strict:                 opt.StrictAll,
		WriteBuffer:            8 << 10 << rng.IntN(8),
		CompactionTableSize:    8 << 10 << rng.IntN(7),
		CompactionTotalSize:    256 << 10,
		BlockSize:              256 << rng.IntN(5),
		Compression:            []opt.Compression{opt.NoCompression, opt.SnappyCompression}[rng.IntN(2)],
		OpenFilesCacheCapacity: 1 + rng.IntN(20),
		BlockCacheCapacity:     64 << 10,
		// Else a batch larger than the write buffer is a transaction.
		DisableLargeBatchTransaction: true,
	}
}

func open(fs *blobfs.FS, o *opt.Options) (*leveldb.DB, error) {
	s, err := NewStorage(fs, "/ldb")
	if err != nil {
		return nil, err
	}
	return leveldb.Open(s, o)
}

// batch is one atomic change; "" is a deletion. Every other value is unique.
type batch struct {
	changes map[string]string
	synced  bool // acknowledged as durable
}

// workload changes a database at random and keeps the model of what it did.
type workload struct {
	rng     *rand.Rand
	db      *leveldb.DB
	now     map[string]string
	batches []*batch // tried, oldest first
	count   int      // values made so far
	last    string
	// transactions of goleveldb keep a lock when an error meets their beginning, and Close waits for it for ever.
	transactions bool
}

const keys = 400

func (w *workload) key() string { return fmt.Sprintf("key%03d", w.rng.IntN(keys)) }

func (w *workload) value() string {
	w.count++
	n := w.rng.IntN(200)
	switch w.rng.IntN(200) {
	case 0:
		n = w.rng.IntN(400_000) // blobfs syncs long appends in another way
	case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15:
		n = w.rng.IntN(6000)
	}
	p := make([]byte, n)
	for i := range p {
		p[i] = byte('a' + w.rng.IntN(26))
	}
	return fmt.Sprintf("%d %s", w.count, p)
}

// draw is a random batch.
func (w *workload) draw() *batch {
	b := &batch{changes: map[string]string{}}
	for range 1 + w.rng.IntN(1<<w.rng.IntN(6)) {
		b.changes[w.key()] = w.value()
	}
	for range w.rng.IntN(4) {
		b.changes[w.key()] = ""
	}
	return b
}

func (w *workload) step() error {
	switch w.rng.IntN(30) {
	case 0:
		w.last = "compact"
		return w.db.CompactRange(util.Range{Start: []byte(w.key())})
	case 1:
		w.last = "scan"
		return requireSame(w.db, w.now)
	case 2:
		return w.snapshot()
	case 3:
		if w.transactions {
			return w.change("transaction", true, w.transact)
		}
	case 4, 5, 6, 7, 8, 9, 10:
		return w.change("unsynced batch", false, w.write(false))
	}
	return w.change("synced batch", true, w.write(true))
}

// change tries a batch and notes that it did.
func (w *workload) change(what string, synced bool, apply func(*batch) error) error {
	b := w.draw()
	w.last = fmt.Sprintf("%s of %d", what, len(b.changes))
	w.batches = append(w.batches, b)
	if err := apply(b); err != nil {
		return err
	}
	b.synced = synced
	b.apply(w.now)
	return nil
}

// apply changes a model.
func (b *batch) apply(m map[string]string) {
	for key, value := range b.changes {
		if value == "" {
			delete(m, key)
		} else {
			m[key] = value
		}
	}
}

// writer is what a batch and a transaction have in common.
type writer interface {
	Put(key, value []byte)
	Delete(key []byte)
}

// put gives the changes to goleveldb in an order that a seed repeats.
func (b *batch) put(to writer) {
	for _, key := range slices.Sorted(maps.Keys(b.changes)) {
		if value := b.changes[key]; value == "" {
			to.Delete([]byte(key))
		} else {
			to.Put([]byte(key), []byte(value))
		}
	}
}

func (w *workload) write(sync bool) func(*batch) error {
	return func(b *batch) error {
		var to leveldb.Batch
		b.put(&to)
		return w.db.Write(&to, &opt.WriteOptions{Sync: sync})
	}
}

// transact commits the batch as a transaction, which goleveldb makes durable.
func (w *workload) transact(b *batch) error {
	tr, err := w.db.OpenTransaction()
	if err != nil {
		return err
	}
	defer tr.Discard() // nothing once it is committed; a commit that fails leaves it open
	var to leveldb.Batch
	b.put(&to)
	if err := tr.Write(&to, nil); err != nil {
		return err
	}
	return tr.Commit()
}

// snapshot compares a snapshot after a change that it must not show.
func (w *workload) snapshot() error {
	snap, err := w.db.GetSnapshot()
	if err != nil {
		return err
	}
	defer snap.Release()
	before := maps.Clone(w.now)
	if err := w.change("batch under a snapshot", false, w.write(false)); err != nil {
		return err
	}
	return requireSame(snap, before)
}

// dump reads everything.
func dump(from leveldb.Reader) (map[string]string, error) {
	got := map[string]string{}
	it := from.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		got[string(it.Key())] = string(it.Value())
	}
	return got, it.Error()
}

// requireSame compares a scan, and some Gets, with the model.
func requireSame(from leveldb.Reader, want map[string]string) error {
	got, err := dump(from)
	if err != nil {
		return err
	}
	if !maps.Equal(got, want) {
		return wrong("a scan finds %d keys, want %d, or other values", len(got), len(want))
	}
	for i := range keys / 10 {
		key := fmt.Sprintf("key%03d", i*10)
		value, err := from.Get([]byte(key), nil)
		if err != nil && err != leveldb.ErrNotFound {
			return err
		}
		if string(value) != want[key] {
			return wrong("%s is %.20q, want %.20q", key, value, want[key])
		}
	}
	return nil
}

// wrong is an error that no lack of power excuses.
func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{powercut.ErrWrong}, args...)...)
}
