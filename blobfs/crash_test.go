package blobfs

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobstore"
)

// crashWorker works in a directory of its own and knows what a power cut may leave of it.
type crashWorker struct {
	fs  *FS
	rng *rand.Rand
	dir string

	states  []map[string]*crashFile // namespace after each operation, the one that failed included
	floor   int                     // the oldest state that a cut may bring back
	touched map[*crashFile]int      // newest state that changed a name of the file
	handles []*crashHandle
	last    string // what was done last, for messages
}

type crashHandle struct {
	f    *File
	file *crashFile
}

// crashFile is what a cut may leave of one file: for each length one record of what may be below it.
type crashFile struct {
	reused  bool // blocks written to in part may have lost the rest
	content []byte
	synced  []byte // content at the last sync that was acknowledged
	floor   int    // the shortest length committed since
	writes  []crashWrite
	lengths map[int][]byte // possible length: bytes from floor on that must be exactly so, nil for any that were written
}

type crashWrite struct {
	off  int
	data []byte
}

func newCrashFile(content []byte) *crashFile {
	f := &crashFile{content: content}
	f.acknowledge()
	return f
}

// acknowledge notes a sync that returned nil.
func (f *crashFile) acknowledge() {
	f.synced = bytes.Clone(f.content)
	f.writes = nil
	f.floor = len(f.synced)
	f.lengths = map[int][]byte{len(f.synced): nil}
}

// attempt notes that a sync begins: from now on a cut may leave its length.
func (f *crashFile) attempt() {
	_, known := f.lengths[len(f.content)]
	switch {
	case !known && f.reused:
		f.lengths[len(f.content)] = nil
	case !known:
		f.lengths[len(f.content)] = bytes.Clone(f.content[min(f.floor, len(f.content)):])
	}
}

func (f *crashFile) write(off int, p []byte) {
	if end := off + len(p); end > len(f.content) {
		if gap := off - len(f.content); gap > 0 {
			f.writes = append(f.writes, crashWrite{len(f.content), make([]byte, gap)})
		}
		f.content = append(f.content, make([]byte, end-len(f.content))...)
	}
	copy(f.content[off:], p)
	f.writes = append(f.writes, crashWrite{off, bytes.Clone(p)})
}

func (f *crashFile) truncate(size int) {
	if size > len(f.content) {
		f.write(len(f.content), make([]byte, size-len(f.content)))
		return
	}
	// The rest of the last block may go to the device as zeros before the new length does.
	f.writes = append(f.writes, crashWrite{size, make([]byte, len(f.content)-size)})
	f.content = slices.Clip(f.content[:size])
	if size < f.floor {
		f.floor = size
		f.lengths[size] = nil
	}
}

// judge says what is wrong with the content that a cut left, "" if nothing is.
func (f *crashFile) judge(got []byte) string {
	exact, possible := f.lengths[len(got)]
	if !possible {
		return fmt.Sprintf("%d bytes, possible are %v", len(got), slices.Sorted(maps.Keys(f.lengths)))
	}
	good := make([]bool, len(got))
	for i := range min(len(got), len(f.synced)) {
		good[i] = got[i] == f.synced[i]
	}
	for _, w := range f.writes {
		for i := w.off; i < min(w.off+len(w.data), len(got)); i++ {
			good[i] = good[i] || got[i] == w.data[i-w.off]
		}
	}
	from := len(got) - len(exact)
	for i := range got {
		if !good[i] {
			return fmt.Sprintf("byte %d of %d is %#x, which was never written there", i, len(got), got[i])
		}
		if i >= from && got[i] != exact[i-from] {
			return fmt.Sprintf("byte %d of %d is %#x, but the length vouches for %#x", i, len(got), got[i], exact[i-from])
		}
	}
	return ""
}

func newCrashWorker(fs *FS, rng *rand.Rand, dir string) *crashWorker {
	return &crashWorker{
		fs: fs, rng: rng, dir: dir, touched: map[*crashFile]int{}, states: []map[string]*crashFile{{}},
	}
}

func (w *crashWorker) now() map[string]*crashFile { return w.states[len(w.states)-1] }

// change notes a namespace operation before it is tried: after a failure it may have happened or not.
func (w *crashWorker) change(files []*crashFile, apply func(map[string]*crashFile)) {
	next := maps.Clone(w.now())
	apply(next)
	w.states = append(w.states, next)
	for _, f := range files {
		w.touched[f] = len(w.states) - 1
	}
}

func (w *crashWorker) name() string { return path.Join(w.dir, string(rune('a'+w.rng.IntN(5)))) }

// existing is a name that is taken, "" if there is none.
func (w *crashWorker) existing() string {
	names := slices.Sorted(maps.Keys(w.now()))
	if len(names) == 0 {
		return ""
	}
	return names[w.rng.IntN(len(names))]
}

func (w *crashWorker) step() error {
	steps := []func() error{
		w.create, w.create, w.rename, w.link, w.remove, w.syncDir, w.reuse, w.openAgain, w.closeOne, w.closeOne,
		w.append, w.append, w.append, w.append, w.overwrite, w.overwrite, w.truncate, w.syncOne, w.syncOne, w.syncOne,
		w.logRun, w.logRun, w.writeBack,
	}
	return steps[w.rng.IntN(len(steps))]()
}

func (w *crashWorker) create() error {
	if len(w.handles) > 5 {
		return w.closeOne()
	}
	name, file := w.name(), newCrashFile(nil)
	w.last = "create " + name
	w.change([]*crashFile{file}, func(s map[string]*crashFile) { s[name] = file })
	f, err := w.fs.Create(name)
	if err == nil {
		w.handles = append(w.handles, &crashHandle{f: f, file: file})
	}
	return err
}

func (w *crashWorker) openAgain() error {
	name := w.existing()
	if name == "" || len(w.handles) > 5 {
		return nil
	}
	w.last = "open " + name
	f, err := w.fs.OpenReadWrite(name, false)
	if err == nil {
		w.handles = append(w.handles, &crashHandle{f: f, file: w.now()[name]})
	}
	return err
}

func (w *crashWorker) rename() error {
	from, to := w.existing(), w.name()
	if from == "" || w.now()[from] == w.now()[to] {
		return nil
	}
	w.last = "rename " + from + " " + to
	w.moved(from, to)
	return w.fs.Rename(from, to)
}

func (w *crashWorker) moved(from, to string) {
	w.change([]*crashFile{w.now()[from]}, func(s map[string]*crashFile) {
		s[to] = s[from]
		delete(s, from)
	})
}

func (w *crashWorker) reuse() error {
	from, to := w.existing(), w.name()
	if from == "" || w.now()[from] == w.now()[to] {
		return nil
	}
	w.last = "reuse " + from + " " + to
	file := w.now()[from]
	file.reused = true
	w.moved(from, to)
	f, err := w.fs.Reuse(from, to)
	if err != nil {
		return err
	}
	w.handles = append(w.handles, &crashHandle{f: f, file: file})
	return nil
}

func (w *crashWorker) link() error {
	from, to := w.existing(), w.name()
	if from == "" || w.now()[to] != nil {
		return nil
	}
	w.last = "link " + from + " " + to
	w.change([]*crashFile{w.now()[from]}, func(s map[string]*crashFile) { s[to] = s[from] })
	return w.fs.Link(from, to)
}

func (w *crashWorker) remove() error {
	name := w.existing()
	if name == "" {
		return nil
	}
	w.last = "remove " + name
	w.change(nil, func(s map[string]*crashFile) { delete(s, name) })
	return w.fs.Remove(name)
}

func (w *crashWorker) syncDir() error {
	w.last = "sync dir"
	err := w.fs.Sync()
	if err == nil {
		w.floor = len(w.states) - 1
	}
	return err
}

func (w *crashWorker) handle() *crashHandle {
	if len(w.handles) == 0 {
		return nil
	}
	return w.handles[w.rng.IntN(len(w.handles))]
}

func (w *crashWorker) closeOne() error {
	if len(w.handles) == 0 {
		return nil
	}
	i := w.rng.IntN(len(w.handles))
	h := w.handles[i]
	w.last = "close " + h.f.Name()
	w.handles = slices.Delete(w.handles, i, i+1)
	return h.f.Close()
}

func (w *crashWorker) write(h *crashHandle, off, n int) error {
	p := make([]byte, n)
	seed := byte(w.rng.Uint32())
	for i := range p {
		p[i] = seed + byte(i*i>>4) | 1 // never zero
	}
	w.last = fmt.Sprintf("write %s at %d: %d", h.f.Name(), off, n)
	h.file.write(off, p)
	if h.file.reused {
		h.file.noteUnspecified(off-off%4096, off)
		h.file.noteUnspecified(off+n, off+n+(4096-(off+n)%4096)%4096)
	}
	_, err := h.f.WriteAt(p, int64(off))
	return err
}

// noteUnspecified allows zeros in a reused file.
func (f *crashFile) noteUnspecified(from, to int) {
	if n := min(to, len(f.content)) - from; n > 0 {
		f.writes = append(f.writes, crashWrite{from, make([]byte, n)})
	}
}

func (w *crashWorker) size() int {
	switch w.rng.IntN(12) {
	case 0:
		return 1 + w.rng.IntN(300_000)
	case 1, 2, 3:
		return 1 + w.rng.IntN(12_000)
	}
	return 1 + w.rng.IntN(600)
}

func (w *crashWorker) append() error {
	h := w.handle()
	if h == nil || len(h.file.content) > 500_000 {
		return nil
	}
	return w.write(h, len(h.file.content), w.size())
}

func (w *crashWorker) overwrite() error {
	h := w.handle()
	if h == nil || len(h.file.content) > 500_000 {
		return nil
	}
	off := w.rng.IntN(len(h.file.content) + 3_000)
	if h.file.reused {
		off = min(off, len(h.file.content))
	}
	return w.write(h, off, w.size())
}

func (w *crashWorker) truncate() error {
	h := w.handle()
	if h == nil || h.file.reused || w.rng.IntN(3) > 0 {
		return nil
	}
	size := w.rng.IntN(len(h.file.content) + 5_000)
	w.last = fmt.Sprintf("truncate %s to %d", h.f.Name(), size)
	h.file.truncate(size)
	return h.f.Truncate(int64(size))
}

func (w *crashWorker) syncOne() error {
	if h := w.handle(); h != nil {
		return w.sync(h)
	}
	return nil
}

func (w *crashWorker) sync(h *crashHandle) error {
	w.last = "sync " + h.f.Name()
	h.file.attempt()
	if err := h.f.Sync(); err != nil {
		return err
	}
	if h.file.reused { // what it left unspecified is what it is now
		got := make([]byte, len(h.file.content))
		if _, err := h.f.ReadAt(got, 0); err != nil && len(got) > 0 {
			return err
		}
		if why := h.file.judge(got); why != "" {
			return fmt.Errorf("reused file: %s", why)
		}
		h.file.content = got
	}
	h.file.acknowledge()
	w.floor = max(w.floor, w.touched[h.file])
	return nil
}

// logRun is what a write-ahead log does, now and then with a change of what was just acknowledged.
func (w *crashWorker) logRun() error {
	h := w.handle()
	if h == nil || h.file.reused || len(h.file.content) > 500_000 {
		return nil
	}
	for range 2 + w.rng.IntN(5) {
		if err := w.write(h, len(h.file.content), 1+w.rng.IntN(900)); err != nil {
			return err
		}
		if err := w.sync(h); err != nil {
			return err
		}
	}
	if w.rng.IntN(2) == 0 {
		return w.write(h, max(0, len(h.file.content)-1-w.rng.IntN(500)), 1+w.rng.IntN(100))
	}
	return nil
}

func (w *crashWorker) writeBack() error {
	h := w.handle()
	if h == nil {
		return nil
	}
	_, err := h.f.SyncTo(int64(w.rng.IntN(len(h.file.content) + 1)))
	return err
}

// verify judges what a cut left of the worker's directory.
func (w *crashWorker) verify(e *env) error {
	entries, err := e.List(w.dir)
	if err != nil {
		return err
	}
	left := map[string][]byte{}
	for _, entry := range entries {
		name := path.Join(w.dir, entry.Name)
		left[name] = e.read(name)
	}
	why := []string{}
	for i := len(w.states) - 1; i >= w.floor; i-- {
		bad := differs(w.states[i], left)
		if bad == "" {
			return nil
		}
		why = append(why, fmt.Sprintf("state %d: %s", i, bad))
	}
	return fmt.Errorf("%s is in none of its possible states; last operation: %s\n%s", w.dir, w.last, why)
}

func differs(state map[string]*crashFile, left map[string][]byte) string {
	if have, want := slices.Sorted(maps.Keys(left)), slices.Sorted(maps.Keys(state)); !slices.Equal(have, want) {
		return fmt.Sprintf("names %v, want %v", have, want)
	}
	for name, content := range left {
		if bad := state[name].judge(content); bad != "" {
			return name + ": " + bad
		}
	}
	return ""
}

// adopt takes what is there now as the worker's past.
func (w *crashWorker) adopt(e *env) {
	byID := map[blobstore.BlobID]*crashFile{}
	state := map[string]*crashFile{}
	entries, err := e.List(w.dir)
	require.NoError(e.t, err)
	for _, entry := range entries {
		name := path.Join(w.dir, entry.Name)
		if byID[entry.Info.ID] == nil {
			byID[entry.Info.ID] = newCrashFile(e.read(name))
		}
		state[name] = byID[entry.Info.ID]
	}
	w.fs, w.states, w.floor, w.handles = e.FS, []map[string]*crashFile{state}, 0, nil
	w.touched = map[*crashFile]int{}
}

// crashRun is one disk that loses power again and again.
type crashRun struct {
	t       *testing.T
	rng     *rand.Rand
	disk    *crashbdev.Disk
	workers []*crashWorker
}

func newCrashRun(t *testing.T, rng *rand.Rand, workers int) *crashRun {
	r := &crashRun{t: t, rng: rng}
	o := crashbdev.Options{Size: 24 << 20, Sparse: rng.IntN(2) == 0}
	if rng.IntN(2) == 0 {
		o.CompletionSeed = rng.Uint64() | 1
	}
	if rng.IntN(3) == 0 {
		o.BlockSize, o.AtomicWriteUnit = 4096, 4096
	}
	r.disk = crashbdev.New(o)
	dev := r.device()
	format := smallStore
	if rng.IntN(2) == 0 {
		format.JournalSize = 256 << 10 // checkpoints while the workers run
	}
	require.NoError(t, Format(dev, format))
	e := r.mount(dev)
	for i := range workers {
		w := newCrashWorker(e.FS, rngOf(rng.Uint64(), uint64(i)), fmt.Sprintf("/w%d", i))
		require.NoError(t, e.Mkdir(w.dir))
		r.workers = append(r.workers, w)
	}
	require.NoError(t, e.FS.Close())
	require.NoError(t, dev.Close())
	return r
}

func (r *crashRun) device() *bdev.Device {
	dev, err := r.disk.Open("crash")
	require.NoError(r.t, err)
	return dev
}

func (r *crashRun) mount(dev *bdev.Device) *env {
	e := &env{t: r.t, dev: dev, o: Options{WriteBufferBytes: 1 << 20}}
	e.mount()
	return e
}

// life mounts, works until the power dies or the time is up, and cuts.
func (r *crashRun) life(steps int, cutAfter int64) {
	dev := r.device()
	e := r.mount(dev)
	for _, w := range r.workers {
		w.adopt(e)
	}
	r.disk.CutAfter(cutAfter)
	var wg sync.WaitGroup
	for _, w := range r.workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range steps {
				if err := w.step(); err != nil {
					if !r.disk.PoweredOff() {
						r.t.Errorf("%s: %v", w.last, err)
					}
					return
				}
			}
		}()
	}
	wg.Wait()
	next := r.disk.Cut(crashbdev.Modes()[r.rng.IntN(5)], r.rng.Uint64())
	r.disk.CutAfter(0)
	for _, w := range r.workers {
		for _, h := range w.handles {
			_ = h.f.Close()
		}
	}
	_ = e.FS.Close()
	_ = dev.Close()
	r.disk = next
}

// dieMounting loses power while the file system recovers, a few times.
func (r *crashRun) dieMounting() {
	for range r.rng.IntN(3) {
		dev := r.device()
		r.disk.CutAfter(1 + r.rng.Int64N(12))
		fs, err := Open(dev, Options{})
		if err != nil && !r.disk.PoweredOff() {
			require.NoError(r.t, err)
		}
		next := r.disk.Cut(crashbdev.Modes()[r.rng.IntN(5)], r.rng.Uint64())
		r.disk.CutAfter(0)
		if err == nil {
			_ = fs.Close()
		}
		_ = dev.Close()
		r.disk = next
	}
}

// verify checks the disk, mounts it and has every worker judge what is left.
func (r *crashRun) verify() {
	dev := r.device()
	requireSound(r.t, dev)
	e := r.mount(dev)
	var err error
	for _, w := range r.workers {
		err = errors.Join(err, w.verify(e))
	}
	require.NoError(r.t, err)
	require.NoError(r.t, e.FS.Close())
	requireSound(r.t, dev)
	require.NoError(r.t, dev.Close())
}

// powerCuts runs lives on disks until there were enough cuts.
func powerCuts(t *testing.T, cuts, workers int) {
	if raceEnabled {
		cuts /= 5
	}
	seed := seedOf(t)
	for n := 0; n < cuts && !t.Failed(); {
		r := newCrashRun(t, rngOf(seed, uint64(n)), workers)
		for range 5 {
			ops := 120 + 300*r.rng.Int64N(2)
			r.life(int(ops), 1+r.rng.Int64N(ops))
			r.dieMounting()
			r.verify()
			if n++; t.Failed() {
				t.Logf("cut %d", n)
				return
			}
		}
	}
}

// TestPowerCuts: after a cut the names are those of one moment, not older than the last sync, and every file holds what
// its last sync made durable and what was written since, nothing else.
func TestPowerCuts(t *testing.T) { powerCuts(t, 350, 1) }

// TestPowerCutsConcurrent is TestPowerCuts with several workers whose syncs share flushes and journal appends.
func TestPowerCutsConcurrent(t *testing.T) { powerCuts(t, 150, 3) }

// TestVouchersKept: what is done to a file after a sync must not make recovery doubt the length that was acknowledged.
// All writes land before the power is cut: what could go wrong is only the checksum.
func TestVouchersKept(t *testing.T) {
	for name, work := range map[string]func(e *env, f *File){
		"overwrite": func(e *env, f *File) { e.writeAt(f, []byte("new"), 950) },
		"reuse": func(e *env, f *File) {
			require.NoError(e.t, f.Close())
			f, err := e.Reuse("/f", "/g")
			require.NoError(e.t, err)
			_, err = f.Write([]byte("new")) // the rest of the block becomes zeros
			require.NoError(e.t, err)
			require.NoError(e.t, f.Close())
		},
		"reuse unsynced": func(e *env, f *File) {
			e.writeAt(f, pattern(1_000, 2), 1_000)
			require.NoError(e.t, f.Close())
			f, err := e.Reuse("/f", "/g")
			require.NoError(e.t, err)
			e.writeAt(f, []byte("more"), 2_000)
			require.NoError(e.t, f.Sync())
			require.NoError(e.t, f.Close())
		},
		"truncate": func(e *env, f *File) {
			require.NoError(e.t, f.Truncate(950))
			e.writeAt(f, []byte("new"), 10)
		},
	} {
		t.Run(name, func(t *testing.T) {
			size := sizeAfterCut(t, work)
			want, special := map[string][]int64{"reuse unsynced": {2_004}, "truncate": {950, 1_000}}[name]
			if !special {
				want = []int64{1_000}
			}
			require.Contains(t, want, size)
		})
	}
}

// sizeAfterCut makes a file of 1000 synced bytes, the last 100 of which are vouched for, works on it and returns its
// size after the power was cut.
func sizeAfterCut(t *testing.T, work func(e *env, f *File)) int64 {
	disk := crashbdev.New(crashbdev.Options{Size: 24 << 20})
	dev, err := disk.Open("crash")
	require.NoError(t, err)
	require.NoError(t, Format(dev, smallStore))
	e := &env{t: t, dev: dev}
	e.mount()
	f := e.openWrite("/f")
	e.writeAt(f, pattern(900, 1), 0)
	require.NoError(t, f.Sync())
	e.writeAt(f, []byte("x"), 0) // confirms what the first sync vouches for
	e.writeAt(f, pattern(100, 1), 900)
	require.NoError(t, f.Sync())
	work(e, f)
	require.NoError(t, e.writeOut("/f"))

	after, err := disk.Cut(crashbdev.KeepAll, 1).Open("after")
	require.NoError(t, err)
	left := &env{t: t, dev: after}
	left.mount()
	entries, err := left.List("/")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	left.finish()
	e.finish()
	require.NoError(t, errors.Join(after.Close(), dev.Close()))
	return entries[0].Info.Size
}

// writeOut brings a file that is still open to the device, without a flush.
func (e *env) writeOut(name string) error {
	e.ns.RLock()
	n, err := e.lookup(name)
	e.ns.RUnlock()
	if err != nil || n.data == nil {
		return nil
	}
	n.data.wmu.Lock()
	defer n.data.wmu.Unlock()
	return n.data.writeOutAll()
}
