package crashsim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/bdev/faultbdev"
	"github.com/blobkv/blobkv/blobfs"
)

// Workload is what is done while operations of the device fail.
type Workload struct {
	Name   string
	Before []Op // on a device that works
	Crash  bool // the power goes after Before; what fails is recovery and what comes after it
	Ops    []Op
}

// Workloads are those that FailEvery is meant for. Each ends with the file system being closed.
var Workloads = []Workload{
	{Name: "names and records", Ops: slices.Concat(
		record("/a", 3), record("/b", 2), ops("rename /a /c; link /b /a; remove /b; sync /a; rename /c /a; syncdir; create /a; syncdir"),
		record("/a", 1), ops("overwrite /a 50 10; sync /a; truncate /a 20; sync /a; remove /a; syncdir"),
	)},
	{Name: "write-behind of big files", Ops: ops(
		"create /a; append /a 300000; append /a 300000; create /b; append /b 300000; append /a 600000; append /b 200000; " +
			"writeback /a; sync /b; overwrite /a 5000 2000; sync /a; append /b 300000; close /a; open /a; append /a 10; sync /a; sync /b",
	)},
	{
		Name:   "reuse of a log",
		Before: slices.Concat(record("/a", 12), ops("append /a 60000; sync /a; close /a; syncdir")),
		Ops: slices.Concat(ops("reuse /a /b"), overwrites("/b", 12),
			ops("close /b; reuse /b /a; overwrite /a 3000 0; sync /a; append /a 70000; sync /a")),
	},
	{Name: "checkpoint under load", Ops: slices.Concat(
		record("/a", 30), ops("create /b; create /c; rename /b /d; sync /a"), record("/d", 30), ops("remove /c; syncdir"), record("/a", 10),
	)},
	{
		Name: "mount after a crash", Crash: true,
		Before: slices.Concat(record("/a", 6), ops("create /b; append /b 300000; sync /b; overwrite /a 90 10; append /a 5000; writeback /a; syncdir"), record("/b", 3)),
		Ops:    slices.Concat(record("/a", 2), ops("syncdir")),
	},
	{Name: "close", Before: record("/a", 2), Ops: ops("append /a 5000; create /b; append /b 40000; close /b; create /c; remove /c")},
}

// ops reads a script that is known to be right.
func ops(text string) []Op {
	list, err := ParseOps(text)
	if err != nil {
		panic(err)
	}
	return list
}

// record makes a file if need be and appends to it n times, synced each time.
func record(name string, n int) []Op {
	list := []Op{{Kind: Create, Name: name}}
	if n > 20 {
		list = []Op{{Kind: Append, Name: name, N: 10}} // goes on with what is there
	}
	for i := range n {
		list = append(list, Op{Kind: Append, Name: name, N: 90 + 333*i%5000}, Op{Kind: Sync, Name: name})
	}
	return list
}

// overwrites is what a reused write-ahead log does.
func overwrites(name string, n int) []Op {
	var list []Op
	for i := range n {
		list = append(list, Op{Kind: Overwrite, Name: name, N: 700, At: 700 * i}, Op{Kind: Sync, Name: name})
	}
	return list
}

// failing is which operations of the device fail, and how.
type failing struct {
	op    bdev.Op
	nth   int   // from 1
	times int   // faultbdev.Always for ever
	drops bool  // of flushes: what they cover is lost
	from  int64 // only operations behind this byte offset count and fail
}

func (f failing) String() string {
	times := fmt.Sprintf("%d times", f.times)
	if f.times == faultbdev.Always {
		times = "for ever"
	}
	if f.drops {
		times += ", dropping what it should have made durable"
	}
	if f.from > 0 {
		times += ", of those to file data"
	}
	return fmt.Sprintf("%v %d fails %s", f.op, f.nth, times)
}

// tries is how often a transfer is tried before its error is reported.
const tries = 3

// failings are the ways in which operations of one kind may fail from the nth on. File data begins at byte offset data.
func failings(op bdev.Op, nth int, data int64) []failing {
	list := []failing{{op: op, nth: nth, times: 1}, {op: op, nth: nth, times: faultbdev.Always}}
	switch op {
	case bdev.OpFlush:
		return append(list, failing{op: op, nth: nth, times: 1, drops: true})
	case bdev.OpWrite: // the journal goes on and may say what is not true
		list = append(list, failing{op: op, nth: nth, times: faultbdev.Always, from: data})
	}
	return append(list, failing{op: op, nth: nth, times: tries})
}

// FailAll is FailEvery for every workload.
func FailAll(ctx context.Context, stride int, o Options) (Counts, error) {
	var all Counts
	progress := o.Progress
	for _, w := range Workloads {
		before := all
		if progress != nil {
			o.Progress = func(done Counts) { progress(before.plus(done)) }
		}
		done, err := FailEvery(ctx, w, stride, o)
		if all = all.plus(done); err != nil {
			return all, err
		}
	}
	return all, nil
}

// FailEvery fails every stride-th device operation of a workload in turn, of each kind, once, for longer than it is repeated,
// and for ever. After each the work goes on as well as it can; errors must be those of the device, an operation that
// returned none must have been carried out, and what is on the device must be sound when it works again.
func FailEvery(ctx context.Context, w Workload, stride int, o Options) (Counts, error) {
	var done counts
	start, left, err := w.start()
	if err != nil {
		return done.now(), err
	}
	data, err := dataStart(start.Snapshot())
	if err != nil {
		return done.now(), err
	}
	var list []failing
	for _, op := range []bdev.Op{bdev.OpRead, bdev.OpWrite, bdev.OpFlush} {
		n, err := w.count(start, left, op)
		if err != nil {
			return done.now(), fmt.Errorf("%s: without faults: %w", w.Name, err)
		}
		for nth := 1 + int(o.Seed%uint64(stride)); nth <= n; nth += stride {
			list = append(list, failings(op, nth, data)...)
		}
	}
	err = each(ctx, o.Workers, len(list), func(i int) error {
		r := faultRun{Workload: w, failing: list[i], start: start, left: left, done: &done, seed: o.Seed}
		r.rng = rand.New(rand.NewPCG(o.Seed, uint64(i)))
		err := r.run()
		o.report(&done)
		return err
	})
	return done.now(), err
}

// start is the disk that a workload begins on, a copy for each run, and what it holds.
func (w *Workload) start() (*crashbdev.Disk, tree, error) {
	image, left, err := w.startImage()
	if err != nil {
		return nil, nil, err
	}
	return crashbdev.FromImage(image, crashbdev.Options{}), left, nil
}

func (w *Workload) startImage() (*crashbdev.Image, tree, error) {
	image, err := baseImage(crashbdev.Options{})
	if err != nil || len(w.Before) == 0 {
		return image, tree{}, err
	}
	t := &tape{disk: crashbdev.FromImage(image, crashbdev.Options{})}
	var left tree
	err = t.mounted(func(fs *blobfs.FS) error {
		if _, err := newRunner(t, fs, "/", tree{}, 1).doAll(w.Before); err != nil {
			return err
		}
		if w.Crash {
			image = t.disk.Cut(crashbdev.KeepAll, 0).Snapshot()
		}
		return nil
	})
	if !w.Crash {
		image = t.disk.Snapshot()
	}
	if err == nil { // of a copy: recovery is what is to fail
		err = onDisk(crashbdev.FromImage(image, crashbdev.Options{}), func(dev *bdev.Device) error {
			return mounted(dev, func(fs *blobfs.FS) error {
				left, err = readTree(fs)
				return err
			})
		})
	}
	return image, left, err
}

// count is how many operations of one kind the workload takes.
func (w *Workload) count(start *crashbdev.Disk, left tree, op bdev.Op) (int, error) {
	var unused counts
	r := faultRun{Workload: *w, failing: failing{op: op, nth: 1 << 30, times: 1}, start: start, left: left, done: &unused}
	r.rng = rand.New(rand.NewPCG(0, 0))
	if err := r.run(); err != nil {
		return 0, err
	}
	c := r.tape.disk.Counters()
	return int(map[bdev.Op]int64{bdev.OpRead: c.Reads, bdev.OpWrite: c.Writes, bdev.OpFlush: c.Flushes}[op]), nil
}

// faultRun is a workload with one failing.
type faultRun struct {
	Workload
	failing
	start *crashbdev.Disk
	left  tree
	done  *counts
	rng   *rand.Rand
	seed  uint64

	tape   *tape
	rule   *faultbdev.Injection
	errs   []error // that operations returned
	closed error
}

// patience is how long a run may take before it counts as hanging.
const patience = 30 * time.Second

func (r *faultRun) run() error {
	stop := watch(r.Name+": "+r.failing.String(), patience)
	defer stop()
	r.done.cases.Add(1)
	err := r.work()
	if err == nil {
		err = r.judgeErrors()
	}
	if err != nil {
		return r.failure("the power stays", err)
	}
	v := verifier{rng: r.rng, deep: thoroughness{oneIn: 8}, counts: r.done}
	for i := range r.tape.cuts {
		if _, _, err := v.verify(&r.tape.cuts[i], crashbdev.Options{}); err != nil {
			return r.failure(r.tape.cuts[i].where, err)
		}
	}
	return nil
}

func (r *faultRun) failure(where string, err error) error {
	return &Failure{
		Case:  fmt.Sprintf("-faults -seed %d", r.seed),
		Trace: slices.Concat(r.Before, r.Ops), Where: fmt.Sprintf("%v; %s; errors returned: %v", r.failing, where, r.errs), Err: err,
	}
}

// work carries the workload out and leaves cuts on the tape: after every sync that succeeded since the first fault, and
// after the end.
func (r *faultRun) work() error {
	disk := crashbdev.FromImage(r.start.Snapshot(), crashbdev.Options{})
	faults := faultbdev.New(disk)
	r.tape = &tape{disk: disk, lower: faults}
	if r.drops {
		disk.FailFlush(int64(r.nth), crashbdev.LoseAll, 1)
	} else {
		r.rule = faults.Inject(faultbdev.Rule{
			Ops: bdev.Ops(r.op), Offset: r.from, Skip: r.nth - 1, Count: r.times, Fault: faultbdev.Fail(bdev.ErrIO),
		})
	}
	dev, err := r.tape.open()
	if err != nil {
		return err
	}
	defer func() { _ = dev.Close() }()
	_, err = r.tape.run(r.afterFault, func() error { return r.onDevice(dev) })
	return err
}

func (r *faultRun) onDevice(dev *bdev.Device) error {
	r.tape.doing = "mount"
	fs, err := blobfs.Open(dev, blobfs.Options{WriteBufferBytes: writeMemory})
	if err != nil {
		r.errs = append(r.errs, err)
		r.tape.parts = []*part{{prefix: "/", model: newModel(r.left)}}
		r.atEnd()
		return nil
	}
	runner := newRunner(r.tape, fs, "/", r.left, 2)
	runner.failed = func(_ Op, err error) error {
		r.errs = append(r.errs, err)
		return nil
	}
	for _, op := range r.Ops {
		if _, err := runner.do(op); err != nil {
			return err
		}
	}
	r.tape.tell(func() { r.tape.doing = "close" })
	runner.closing()
	if r.closed = fs.Close(); r.closed != nil {
		r.errs = append(r.errs, r.closed)
	} else {
		runner.closed()
	}
	r.atEnd()
	return nil
}

// closing notes that every file is about to be synced.
func (r *runner) closing() {
	for id := range r.part.model.files {
		r.tape.tell(func() { r.part.model.syncBegins(id) })
	}
}

// closed notes that everything is durable.
func (r *runner) closed() {
	for id := range r.part.model.files {
		if !r.part.model.files[id].reused {
			r.tape.tell(func() { r.part.model.synced(id) })
		}
	}
	r.tape.tell(r.part.model.dirSynced)
}

// hit reports whether something has failed.
func (r *faultRun) hit() bool {
	if r.drops {
		return r.tape.disk.Counters().Flushes >= int64(r.nth)
	}
	return r.rule.Hits() > 0
}

// cutsAfterFault is how many operations after the fault are followed by a cut. What comes later is as without it.
const cutsAfterFault = 3

// afterFault loses what no flush has covered where an operation has returned after the fault: what it acknowledged has
// to be there.
func (r *faultRun) afterFault(p place, _ int) []fate {
	if p != betweenOps || !r.hit() || len(r.tape.cuts) >= cutsAfterFault {
		return nil
	}
	return []fate{drawn(crashbdev.LoseAll, r.rng)}
}

// atEnd takes states of the device as the program leaves it.
func (r *faultRun) atEnd() {
	r.tape.mu.Lock()
	r.tape.choose = func(_ place, unflushed int) []fate {
		if unflushed == 0 {
			return []fate{keeping(0, 0)}
		}
		return []fate{drawn(crashbdev.LoseAll, r.rng), drawn(crashbdev.KeepAll, r.rng), drawn(crashbdev.Random, r.rng)}
	}
	r.tape.news = true
	r.tape.mu.Unlock()
	r.tape.take(betweenOps)
}

// judgeErrors demands that errors are those of the device, that a transfer which fails once is repeated without a word,
// and that a flush which failed, or a device that takes no writes any more, is not passed over in silence.
func (r *faultRun) judgeErrors() error {
	for _, err := range r.errs {
		if !errors.Is(err, bdev.ErrIO) {
			return fmt.Errorf("an error that does not say why: %w", err)
		}
	}
	switch {
	case !r.hit():
		if len(r.errs) > 0 {
			return fmt.Errorf("nothing failed, yet: %w", r.errs[0])
		}
	case r.op != bdev.OpFlush && r.times == 1 && len(r.errs) > 0:
		return fmt.Errorf("one repetition would have done: %w", r.errs[0])
	case r.op == bdev.OpFlush && len(r.errs) == 0:
		return errors.New("a flush failed and nobody was told")
	case r.op == bdev.OpWrite && r.times == faultbdev.Always && r.from == 0 && len(r.errs) == 0:
		return errors.New("nothing could be written and nobody was told")
	}
	return nil
}
