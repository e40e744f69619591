package blobfs

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
)

// model is the file system as it should be: a tree of plain maps and byte slices.
type model struct {
	files map[string]*modelFile // by path
	dirs  map[string]bool
}

type modelFile struct{ content []byte }

func newModel() *model {
	return &model{files: map[string]*modelFile{}, dirs: map[string]bool{"/": true}}
}

func (m *model) exists(name string) bool { return m.dirs[name] || m.files[name] != nil }

func (m *model) empty(dir string) bool {
	for _, set := range m.all() {
		if path.Dir(set) == dir && set != "/" {
			return false
		}
	}
	return true
}

func (m *model) all() []string {
	names := []string{}
	for name := range m.files {
		names = append(names, name)
	}
	for name := range m.dirs {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// modelRun drives the file system and the model with the same random operations.
type modelRun struct {
	*env
	rng     *rand.Rand
	m       *model
	handles []modelHandle
	log     []string
}

type modelHandle struct {
	f     *File
	file  *modelFile
	write bool
}

var modelNames = []string{"/a", "/b", "/c", "/d", "/d/x", "/d/y", "/e", "/e/z", "/d/e", "/d/e/w"}

func (r *modelRun) name() string { return modelNames[r.rng.IntN(len(modelNames))] }

func (r *modelRun) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

// agree demands that the file system did what the model says it should.
func (r *modelRun) agree(want, got error) bool {
	r.t.Helper()
	if want == nil {
		require.NoError(r.t, got, "after %v", tail(r.log))
		return true
	}
	require.ErrorIs(r.t, got, want, "after %v", tail(r.log))
	return false
}

func tail(log []string) []string { return log[max(0, len(log)-12):] }

// parentError is what an operation on a new name fails with.
func (m *model) parentError(name string) error {
	dir := path.Dir(name)
	for d := dir; d != "/"; d = path.Dir(d) {
		if m.files[d] != nil {
			return ErrNotDir
		}
	}
	if !m.dirs[dir] {
		return ErrNotExist
	}
	return nil
}

// lookupError is what an operation on an existing name fails with.
func (m *model) lookupError(name string) error {
	if err := m.parentError(name); err != nil {
		return err
	}
	if !m.exists(name) {
		return ErrNotExist
	}
	return nil
}

func (r *modelRun) step() {
	steps := []func(){
		r.create, r.open, r.open, r.openWrite, r.rename, r.link, r.remove, r.mkdir, r.removeAll,
		r.write, r.write, r.write, r.write, r.append, r.append, r.append, r.append, r.truncate,
		r.readBack, r.readBack, r.readBack, r.sync, r.sync, r.closeOne, r.closeOne, r.preallocate, r.list,
	}
	steps[r.rng.IntN(len(steps))]()
}

func (r *modelRun) create() {
	name := r.name()
	r.note("create %s", name)
	want := r.m.parentError(name)
	if want == nil && r.m.dirs[name] {
		want = ErrIsDir
	}
	f, err := r.Create(name)
	if r.agree(want, err) {
		r.m.files[name] = &modelFile{}
		r.handles = append(r.handles, modelHandle{f: f, file: r.m.files[name], write: true})
	}
}

func (r *modelRun) openAs(write bool) {
	name := r.name()
	r.note("open %s write %v", name, write)
	want := r.m.lookupError(name)
	if want == nil && write && r.m.dirs[name] {
		want = ErrIsDir
	}
	var f *File
	var err error
	if write {
		f, err = r.OpenReadWrite(name, false)
	} else {
		f, err = r.Open(name)
	}
	if !r.agree(want, err) {
		return
	}
	if r.m.dirs[name] {
		require.NoError(r.t, errors.Join(f.Sync(), f.Close()))
		return
	}
	if r.rng.IntN(3) == 0 {
		f.SetSequential()
	}
	r.handles = append(r.handles, modelHandle{f: f, file: r.m.files[name], write: write})
}

func (r *modelRun) open()      { r.openAs(false) }
func (r *modelRun) openWrite() { r.openAs(true) }

func (r *modelRun) rename() {
	from, to := r.name(), r.name()
	r.note("rename %s %s", from, to)
	want := r.m.lookupError(from)
	if want == nil {
		want = r.m.parentError(to)
	}
	same := r.m.files[from] != nil && r.m.files[from] == r.m.files[to] || from == to
	if want == nil && !same {
		want = r.m.renameError(from, to)
	}
	if r.agree(want, r.Rename(from, to)) && !same {
		r.m.move(from, to)
	}
}

func (m *model) renameError(from, to string) error {
	switch {
	case m.dirs[from] && (to == from || len(to) > len(from) && to[:len(from)+1] == from+"/"):
		return ErrInvalid
	case m.dirs[from] && m.files[to] != nil:
		return ErrNotDir
	case m.files[from] != nil && m.dirs[to]:
		return ErrIsDir
	case m.dirs[to] && !m.empty(to):
		return ErrNotEmpty
	}
	return nil
}

func (m *model) move(from, to string) {
	delete(m.files, to)
	delete(m.dirs, to)
	for _, name := range m.all() {
		if name != from && (len(name) <= len(from) || name[:len(from)+1] != from+"/") {
			continue
		}
		target := to + name[len(from):]
		if m.dirs[name] {
			delete(m.dirs, name)
			m.dirs[target] = true
		} else {
			m.files[target] = m.files[name]
			delete(m.files, name)
		}
	}
}

func (r *modelRun) link() {
	from, to := r.name(), r.name()
	r.note("link %s %s", from, to)
	want := r.m.lookupError(from)
	if want == nil && r.m.dirs[from] {
		want = ErrIsDir
	}
	if want == nil {
		want = r.m.parentError(to)
	}
	if want == nil && r.m.exists(to) {
		want = ErrExist
	}
	if r.agree(want, r.Link(from, to)) {
		r.m.files[to] = r.m.files[from]
	}
}

func (r *modelRun) remove() {
	name := r.name()
	r.note("remove %s", name)
	want := r.m.lookupError(name)
	if want == nil && r.m.dirs[name] && !r.m.empty(name) {
		want = ErrNotEmpty
	}
	if r.agree(want, r.Remove(name)) {
		delete(r.m.files, name)
		delete(r.m.dirs, name)
	}
}

func (r *modelRun) removeAll() {
	if r.rng.IntN(4) != 0 {
		return
	}
	name := r.name()
	r.note("remove all %s", name)
	want := r.m.parentError(name)
	if errors.Is(want, ErrNotExist) {
		want = nil
	}
	if r.agree(want, r.RemoveAll(name)) {
		for _, n := range r.m.all() {
			if n == name || len(n) > len(name) && n[:len(name)+1] == name+"/" {
				delete(r.m.files, n)
				delete(r.m.dirs, n)
			}
		}
	}
}

func (r *modelRun) mkdir() {
	name := r.name()
	r.note("mkdir %s", name)
	want := r.m.parentError(name)
	if want == nil && r.m.exists(name) {
		want = ErrExist
	}
	if r.agree(want, r.Mkdir(name)) {
		r.m.dirs[name] = true
	}
}

func (r *modelRun) handle(write bool) *modelHandle {
	for range 5 {
		if len(r.handles) == 0 {
			return nil
		}
		if h := &r.handles[r.rng.IntN(len(r.handles))]; h.write || !write {
			return h
		}
	}
	return nil
}

// amount is a length that is often small, sometimes a block and sometimes several chunks.
func amount(rng *rand.Rand) int {
	switch rng.IntN(8) {
	case 0:
		return rng.IntN(600_000)
	case 1:
		return 4096 * rng.IntN(20)
	case 2, 3:
		return rng.IntN(20_000)
	}
	return rng.IntN(500)
}

func (r *modelRun) writeAtOffset(off int) {
	h := r.handle(true)
	if h == nil {
		return
	}
	if off < 0 {
		off = len(h.file.content)
	}
	p := pattern(amount(r.rng), byte(r.rng.Uint32()))
	r.note("write %s at %d: %d", h.f.Name(), off, len(p))
	n, err := h.f.WriteAt(p, int64(off))
	require.NoError(r.t, err, "after %v", tail(r.log))
	require.Equal(r.t, len(p), n)
	if len(p) > 0 {
		h.file.extend(off + len(p))
		copy(h.file.content[off:], p)
	}
}

func (f *modelFile) extend(n int) {
	if n > len(f.content) {
		f.content = append(f.content, make([]byte, n-len(f.content))...)
	}
}

func (r *modelRun) write() {
	if h := r.handle(true); h != nil {
		r.writeAtOffset(r.rng.IntN(len(h.file.content) + 10_000))
	}
}

func (r *modelRun) append() { r.writeAtOffset(-1) }

func (r *modelRun) truncate() {
	h := r.handle(true)
	if h == nil {
		return
	}
	size := r.rng.IntN(2*len(h.file.content) + 1)
	size = min(size, 3<<20)
	r.note("truncate %s to %d", h.f.Name(), size)
	require.NoError(r.t, h.f.Truncate(int64(size)))
	h.file.extend(size)
	h.file.content = h.file.content[:size:size]
}

func (r *modelRun) preallocate() {
	if h := r.handle(true); h != nil {
		r.note("preallocate %s", h.f.Name())
		require.NoError(r.t, h.f.Preallocate(0, int64(r.rng.IntN(1<<20))))
	}
}

func (r *modelRun) readBack() {
	h := r.handle(false)
	if h == nil {
		return
	}
	off := r.rng.IntN(len(h.file.content) + 100)
	p := make([]byte, amount(r.rng))
	r.note("read %s at %d: %d", h.f.Name(), off, len(p))
	if r.rng.IntN(4) == 0 {
		require.NoError(r.t, h.f.Prefetch(int64(off), int64(len(p))))
	}
	n, err := h.f.ReadAt(p, int64(off))
	want := h.file.content[min(off, len(h.file.content)):]
	want = want[:min(len(want), len(p))]
	require.Equal(r.t, len(want), n, "after %v", tail(r.log))
	if n < len(p) {
		require.Equal(r.t, io.EOF, err)
	} else {
		require.NoError(r.t, err)
	}
	require.Empty(r.t, diff(want, p[:n]), "after %v", tail(r.log))
}

func (r *modelRun) sync() {
	h := r.handle(true)
	if h == nil {
		return
	}
	r.note("sync %s", h.f.Name())
	if r.rng.IntN(2) == 0 {
		_, err := h.f.SyncTo(int64(len(h.file.content)))
		require.NoError(r.t, err)
		return
	}
	require.NoError(r.t, h.f.Sync())
}

func (r *modelRun) closeOne() {
	if len(r.handles) == 0 {
		return
	}
	i := r.rng.IntN(len(r.handles))
	r.note("close %s", r.handles[i].f.Name())
	require.NoError(r.t, r.handles[i].f.Close())
	r.handles = append(r.handles[:i], r.handles[i+1:]...)
}

func (r *modelRun) list() {
	dir := r.name()
	r.note("list %s", dir)
	want := r.m.lookupError(dir)
	if want == nil && !r.m.dirs[dir] {
		want = ErrNotDir
	}
	entries, err := r.List(dir)
	if !r.agree(want, err) {
		return
	}
	got := []string{}
	for _, e := range entries {
		got = append(got, path.Join(dir, e.Name))
	}
	expected := []string{}
	for _, name := range r.m.all() {
		if path.Dir(name) == dir {
			expected = append(expected, name)
		}
	}
	require.Equal(r.t, expected, got, "after %v", tail(r.log))
}

// compare reads everything back.
func (r *modelRun) compare() {
	for _, name := range r.m.all() {
		info, err := r.Stat(name)
		require.NoError(r.t, err, name)
		require.Equal(r.t, r.m.dirs[name], info.Dir, name)
		if !info.Dir {
			require.Equal(r.t, int64(len(r.m.files[name].content)), info.Size, name)
			require.Empty(r.t, diff(r.m.files[name].content, r.read(name)), "%s after %v", name, tail(r.log))
		}
	}
}

func TestAgainstModel(t *testing.T) {
	seed := seedOf(t)
	for run := range uint64(6) {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			rng := rngOf(seed, run)
			r := &modelRun{env: newEnv(t, 64<<20, Options{WriteBufferBytes: 1 << 20}), rng: rng, m: newModel()}
			for i := range 1_500 {
				r.step()
				if i%300 == 299 {
					r.compare()
					if rng.IntN(2) == 0 {
						for len(r.handles) > 0 {
							r.closeOne()
						}
					}
					r.note("remount")
					r.remount()
					for _, h := range r.handles {
						require.NoError(t, h.f.Close()) // dead, but closing is no error
					}
					r.handles = nil
					r.compare()
				}
			}
		})
	}
}
