package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strings"
	"time"
)

// logState is what the write-ahead log of a row lies on. Storage under a log that was written before is cheaper to sync
// than fresh storage, on both engines, so a row is measured on one of the two and says which.
type logState string

const (
	logAny      logState = ""
	logFresh    logState = "fresh"
	logRecycled logState = "recycled"
)

// benchmark is one of db_bench's workloads.
type benchmark struct {
	name  string
	about string

	fresh  bool     // needs an empty store
	writes bool     // changes the data that later rows find
	synced bool     // every write is durable, whatever --sync says
	log    logState // how the log is prepared
	extra  starter  // what one more goroutine does meanwhile, unmeasured
	files  bool     // runs on the file system below the engine
	fixed  bool     // always --num operations: what it leaves must be complete

	start starter
}

// starter makes the operation that a goroutine repeats.
type starter func(w *worker) (op func() error, err error)

var benchmarks = []benchmark{
	{name: "fillseq", about: "write --num keys in order into a fresh store", fresh: true, writes: true, fixed: true, start: startFillSeq},
	{name: "fillrandom", about: "write --num random keys into a fresh store", fresh: true, writes: true, start: startFillRandom},
	{name: "fillsync", about: "the same, each write durable; runs on fresh logs, then fillsync-recycled", fresh: true, writes: true, synced: true, log: logFresh, start: startFillRandom},
	{name: "fillsync-recycled", about: "fillsync on logs that the store has used before, as in a long-running process", fresh: true, writes: true, synced: true, log: logRecycled, start: startFillRandom},
	{name: "fillsyncwhilecompacting", about: "durable writes while one more goroutine fills the store with others, without sync, at 20 MB/s", fresh: true, writes: true, synced: true, extra: startPacedFill, start: startFillRandom},
	{name: "overwrite", about: "write random keys into the store as it is", writes: true, start: startFillRandom},
	{name: "readrandom", about: "get random keys", start: startReadRandom},
	{name: "readseq", about: "walk the keys forwards; one entry is one operation", start: startReadSeq},
	{name: "readreverse", about: "walk the keys backwards", start: startReadReverse},
	{name: "readmissing", about: "get keys that are not there", start: startReadMissing},
	{name: "seekrandom", about: "seek an iterator to random keys, then read --seek_nexts entries", start: startSeekRandom},
	{name: "readwhilewriting", about: "readrandom while one more goroutine overwrites", extra: startWriterBeside, start: startReadRandom},
	{name: "deleterandom", about: "delete random keys", writes: true, start: startDeleteRandom},
	{name: "smallfiles", about: "create, write, sync, close and remove a file of --value_size bytes, on the file system below the engine", synced: true, files: true, start: startFillSeq},
}

// parseBenchmarks reads --benchmarks. fillsync stands for its two rows.
func parseBenchmarks(list string) ([]*benchmark, error) {
	var rows []*benchmark
	for _, name := range strings.Split(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		b := findBenchmark(name)
		if b == nil {
			return nil, usagef("--benchmarks: %q is not known; known are %s", name, strings.Join(benchmarkNames(), " "))
		}
		rows = append(rows, b)
		if b.log == logFresh {
			rows = append(rows, findBenchmark("fillsync-recycled"))
		}
	}
	if len(rows) == 0 {
		return nil, usagef("--benchmarks names none; known are %s", strings.Join(benchmarkNames(), " "))
	}
	return rows, nil
}

func findBenchmark(name string) *benchmark {
	for i := range benchmarks {
		if benchmarks[i].name == name {
			return &benchmarks[i]
		}
	}
	return nil
}

func benchmarkNames() []string {
	var names []string
	for i := range benchmarks {
		names = append(names, benchmarks[i].name)
	}
	return names
}

// durable says whether every write of the row is synced.
func (b *benchmark) durable(sync bool) bool { return b.synced || sync }

// loads says whether the row's work is to leave data: it runs once, however many numbers of threads are asked for.
func (b *benchmark) loads() bool { return b.writes && !b.synced }

// durability is what a report says about the row's writes.
func (b *benchmark) durability(sync bool) string {
	switch {
	case !b.writes && b.extra == nil && !b.files:
		return "read"
	case b.durable(sync):
		return "sync"
	}
	return "nosync"
}

// rngFor makes the random numbers of one goroutine of one row: other rows, runs and goroutines draw others, and so does
// the same row with another number of threads, which would find its keys in the caches otherwise.
func rngFor(seed uint64, row string, threads, run, thread int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d/%d/%d", row, threads, run, thread)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

func (w *worker) set(n int64) error {
	putKey(w.key, n)
	w.bytes += int64(len(w.key) + w.valueSize)
	return w.store.set(w.key, w.values.take(w.valueSize), w.sync)
}

func (w *worker) randomKey() int64 { return w.rng.Int64N(w.num) }

// startFillSeq gives each goroutine its own range of keys.
func startFillSeq(w *worker) (func() error, error) {
	next := w.firstOp
	return func() error {
		n := next
		next++
		return w.set(n)
	}, nil
}

func startFillRandom(w *worker) (func() error, error) {
	return func() error { return w.set(w.randomKey()) }, nil
}

// What startPacedFill writes: enough for flushes and compactions without a pause, and less than would make the engine stop
// its writers.
const (
	pacedBytesPerSec = 20 << 20
	pacedBurst       = 64 << 10 // bytes
)

func startPacedFill(w *worker) (func() error, error) { return w.pacedFill(pacedBytesPerSec) }

// startWriterBeside writes random keys at the rate that was asked for, so that both engines write as much.
func startWriterBeside(w *worker) (func() error, error) {
	if w.writeRate == 0 {
		return startFillRandom(w)
	}
	return w.pacedFill(w.writeRate)
}

// pacedFill writes random keys in bursts, and never sleeps for much longer than
// a second.
func (w *worker) pacedFill(bytesPerSec int64) (func() error, error) {
	start, before := time.Now(), w.bytes
	return func() error {
		for end := w.bytes + pacedBurst; w.bytes < end; {
			if err := w.set(w.randomKey()); err != nil {
				return err
			}
		}
		due := time.Duration(float64(w.bytes-before) / float64(bytesPerSec) * float64(time.Second))
		time.Sleep(due - time.Since(start))
		return nil
	}, nil
}

func startDeleteRandom(w *worker) (func() error, error) {
	return func() error {
		putKey(w.key, w.randomKey())
		w.bytes += int64(len(w.key))
		return w.store.delete(w.key, w.sync)
	}, nil
}

func startReadRandom(w *worker) (func() error, error) {
	return func() error {
		putKey(w.key, w.randomKey())
		return w.get(w.key)
	}, nil
}

// startReadMissing asks for keys that lie between those that are there.
func startReadMissing(w *worker) (func() error, error) {
	key := append(w.key, '.')
	return func() error {
		putKey(key[:len(key)-1], w.randomKey())
		return w.get(key)
	}, nil
}

func (w *worker) get(key []byte) error {
	value, err := w.store.getAppend(w.buf[:0], key)
	w.buf = value
	switch {
	case err == nil:
		w.found++
		w.bytes += int64(len(key) + len(value))
		return nil
	case errors.Is(err, errNotFound):
		return nil
	}
	return err
}

func startReadSeq(w *worker) (func() error, error) {
	return w.walk(iterator.First, iterator.Next)
}

func startReadReverse(w *worker) (func() error, error) {
	return w.walk(iterator.Last, iterator.Prev)
}

// walk makes an operation of each step of an iterator, from the start again at its end.
func (w *worker) walk(first, next func(iterator) bool) (func() error, error) {
	it, err := w.newIterator()
	if err != nil {
		return nil, err
	}
	step := first
	return func() error {
		if !step(it) {
			if err := it.Error(); err != nil {
				return err
			}
			if !first(it) {
				return errors.Join(it.Error(), errEmptyStore)
			}
		}
		step = next
		w.consume(it)
		return nil
	}, nil
}

// errEmptyStore ends a row that walks a store without keys: it would report the speed of nothing.
var errEmptyStore = fmt.Errorf("the store holds no keys: %w", io.EOF)

func startSeekRandom(w *worker) (func() error, error) {
	it, err := w.newIterator()
	if err != nil {
		return nil, err
	}
	return func() error {
		putKey(w.key, w.randomKey())
		if it.SeekGE(w.key) {
			w.consume(it)
		}
		for i := 0; i < w.seekNexts && it.Next(); i++ {
			w.consume(it)
		}
		return it.Error()
	}, nil
}

// consume touches the entry an iterator is at.
func (w *worker) consume(it iterator) {
	w.found++
	w.bytes += int64(len(it.Key()) + len(it.Value()))
}
