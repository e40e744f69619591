package crashsim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// Model is the specification: what a file system may hold after a power cut. It is told of every operation before it is
// tried and of every sync that succeeded, in order, and then judges a tree that recovery has produced. It promises:
//
//  1. After a sync of a file its bytes, exact length and names survive; after a sync of a directory all names do.
//  2. The names are those after some prefix of the operations, none shorter than the syncs allow. Each operation is
//     whole: a rename over an existing file never leaves both, or neither.
//  3. Below the length there is no byte that was not written there by the history of this file.
//  4. What a file loses to a crash is only what was not synced: nobody else's bytes stand in its place, since space that
//     a remove frees is not used again before the remove is durable.
//
// A Model is a value: a copy made by snapshot is not changed by what happens to the original.
type Model struct {
	names   []map[string]fileID // after each operation on names; an element is never changed
	floor   int                 // the oldest of names that a cut may bring back
	files   map[fileID]file
	touched map[fileID]int // newest of names in which a name of the file changed
	next    fileID
}

// fileID tells files apart, whatever their names.
type fileID int

// newModel knows the tree that recovery left: all of it is durable, and there is one moment it can be of.
func newModel(left tree) Model {
	m := Model{files: map[fileID]file{}, touched: map[fileID]int{}}
	ids := map[blobstore.BlobID]fileID{}
	names := map[string]fileID{}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		e := left[name]
		id, known := ids[e.blob]
		if !known {
			id = m.add(e.content)
			ids[e.blob] = id
		}
		names[name] = id
	}
	m.names = []map[string]fileID{names}
	return m
}

func (m *Model) add(content []byte) fileID {
	m.next++
	m.files[m.next] = newFile(content)
	return m.next
}

func (m *Model) snapshot() Model {
	s := *m
	s.names = slices.Clip(m.names)
	s.files, s.touched = maps.Clone(m.files), maps.Clone(m.touched)
	return s
}

// now is the namespace after the newest operation.
func (m *Model) now() map[string]fileID { return m.names[len(m.names)-1] }

// change notes an operation on names: after a cut it has happened wholly or not at all.
func (m *Model) change(id fileID, apply func(names map[string]fileID)) {
	next := maps.Clone(m.now())
	apply(next)
	m.names = append(m.names, next)
	m.touched[id] = len(m.names) - 1
}

// create makes a new empty file; one that has the name loses it.
func (m *Model) create(name string) fileID {
	id := m.add(nil)
	m.change(id, func(names map[string]fileID) { names[name] = id })
	return id
}

// rename moves a name, also over another one.
func (m *Model) rename(from, to string) {
	id := m.now()[from]
	m.change(id, func(names map[string]fileID) {
		delete(names, from)
		names[to] = id
	})
}

func (m *Model) link(from, to string) {
	id := m.now()[from]
	m.change(id, func(names map[string]fileID) { names[to] = id })
}

func (m *Model) remove(name string) {
	id := m.now()[name]
	m.change(id, func(names map[string]fileID) { delete(names, name) })
}

// reuse renames, and from now on blocks that are written in part may have lost the rest.
func (m *Model) reuse(from, to string) {
	id := m.now()[from]
	m.rename(from, to)
	m.update(id, func(f *file) { f.reused = true })
}

func (m *Model) write(id fileID, off int, data []byte) {
	m.update(id, func(f *file) { f.write(off, data) })
}

func (m *Model) truncate(id fileID, size int) {
	m.update(id, func(f *file) { f.truncate(size) })
}

// syncBegins notes that a sync of a file is tried: from now on a cut may leave its new length.
func (m *Model) syncBegins(id fileID) { m.update(id, (*file).attempt) }

// synced notes that a sync of a file returned nil.
func (m *Model) synced(id fileID) {
	m.update(id, (*file).acknowledge)
	m.floor = max(m.floor, m.touched[id])
}

// dirSynced notes that a sync of a directory returned nil.
func (m *Model) dirSynced() { m.floor = len(m.names) - 1 }

// update replaces a file by a changed copy.
func (m *Model) update(id fileID, change func(f *file)) {
	f := m.files[id]
	change(&f)
	m.files[id] = f
}

// tree is what recovery has left: files by path.
type tree map[string]entry

type entry struct {
	blob    blobstore.BlobID
	content []byte
}

// judge returns nil if the tree may be what a cut leaves now, or what is wrong with it compared to each moment it could
// be of.
func (m *Model) judge(left tree) error {
	var why []string
	for i := len(m.names) - 1; i >= m.floor; i-- {
		bad := m.differs(m.names[i], left)
		if bad == "" {
			return nil
		}
		if len(why) < 6 {
			why = append(why, fmt.Sprintf("not as after change %d of %d: %s", i, len(m.names)-1, bad))
		}
	}
	return fmt.Errorf("what is left is of no moment between the last sync and the cut: %q", why)
}

// differs compares the tree with one moment.
func (m *Model) differs(names map[string]fileID, left tree) string {
	if have, want := slices.Sorted(maps.Keys(left)), slices.Sorted(maps.Keys(names)); !slices.Equal(have, want) {
		return fmt.Sprintf("names %v, want %v", have, want)
	}
	blobs := map[fileID]blobstore.BlobID{}
	owners := map[blobstore.BlobID]fileID{}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		id, blob := names[name], left[name].blob
		if known, ok := blobs[id]; ok && known != blob {
			return fmt.Sprintf("%s is another file than under its other name", name)
		}
		if known, ok := owners[blob]; ok && known != id {
			return fmt.Sprintf("%s has become one with another file", name)
		}
		blobs[id], owners[blob] = blob, id
		f := m.files[id]
		if bad := f.judge(left[name].content); bad != "" {
			return name + ": " + bad
		}
	}
	return ""
}

// readTree reads every file below the root.
func readTree(fs *blobfs.FS) (tree, error) {
	left := tree{}
	return left, left.read(fs, "/")
}

func (t tree) read(fs *blobfs.FS, dir string) error {
	entries, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := dir + e.Name
		if e.Info.Dir {
			err = t.read(fs, name+"/")
		} else {
			err = t.readFile(fs, name, e.Info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readFile demands that the size that a listing gives is what can be read.
func (t tree) readFile(fs *blobfs.FS, name string, info blobfs.Info) error {
	content, err := readAll(fs, name)
	if err == nil && int64(len(content)) != info.Size {
		err = fmt.Errorf("%s: %d bytes can be read, its size is %d", name, len(content), info.Size)
	}
	t[name] = entry{info.ID, content}
	return err
}

// below is the part of the tree under a prefix.
func (t tree) below(prefix string) tree {
	part := tree{}
	for name, e := range t {
		if strings.HasPrefix(name, prefix) {
			part[name] = e
		}
	}
	return part
}
