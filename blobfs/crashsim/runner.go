package crashsim

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/blobkv/blobkv/blobfs"
)

// runner carries out operations, one at a time, and tells its model. Several may work on one file system, each in a
// part of the tree that is its own.
type runner struct {
	tape    *tape
	fs      *blobfs.FS
	part    *part
	handles []*handle
	writes  uint64                       // seed of the next write's bytes
	failed  func(op Op, err error) error // returns nil if the operation may fail so
}

// handle is an open file, under the name it had then.
type handle struct {
	f    *blobfs.File
	id   fileID
	name string
}

// maxHandles bounds the open handles of a runner; the oldest makes room.
const maxHandles = 8

// newRunner works on a part of the tree that has nothing in it but what is durable.
func newRunner(t *tape, fs *blobfs.FS, prefix string, left tree, seed uint64) *runner {
	p := &part{prefix: prefix, model: newModel(left.below(prefix))}
	t.parts = append(t.parts, p)
	return &runner{tape: t, fs: fs, part: p, writes: seed, failed: onlyNoSpace}
}

// onlyNoSpace is what may go wrong on a device that works.
func onlyNoSpace(op Op, err error) error {
	if errors.Is(err, blobfs.ErrNoSpace) {
		return nil
	}
	return fmt.Errorf("%v: %w", op, err)
}

// do carries out one operation. did is false if it made no sense.
func (r *runner) do(op Op) (did bool, err error) {
	r.tape.tell(func() { r.tape.doing, r.tape.news = op.String(), false })
	before := r.part.model.snapshot()
	did, err = r.carryOut(op)
	if err != nil {
		// Nothing has happened, or what a write says. A sync that was tried may have left its length all the same.
		if op.Kind != Sync && op.Kind != Append && op.Kind != Overwrite {
			r.tape.tell(func() { r.part.model = before })
		}
		if err := r.failed(op, err); err != nil {
			return did, err
		}
	}
	if did {
		r.tape.take(betweenOps)
	}
	return did, nil
}

func (r *runner) carryOut(op Op) (did bool, err error) {
	switch op.Kind {
	case Create, Link, Rename, Remove, Reuse:
		return r.changeNames(op)
	case SyncDir:
		if err := r.fs.Sync(); err != nil {
			return true, err
		}
		r.tape.tell(r.part.model.dirSynced)
		return true, nil
	case Open:
		return r.open(op.Name)
	}
	h, err := r.target(op.Name)
	if h == nil || err != nil {
		return false, err
	}
	return r.change(h, op)
}

// changeNames carries out an operation on names.
func (r *runner) changeNames(op Op) (did bool, err error) {
	m := &r.part.model
	from, exists := m.now()[op.Name]
	to, taken := m.now()[op.To]
	if op.Kind != Create && !exists || op.Kind == Link && taken || taken && from == to {
		return false, nil
	}
	switch op.Kind {
	case Create:
		return true, r.create(op.Name)
	case Link:
		r.tape.tell(func() { m.link(op.Name, op.To) })
		return true, r.fs.Link(op.Name, op.To)
	case Rename:
		r.tape.tell(func() { m.rename(op.Name, op.To) })
		return true, r.fs.Rename(op.Name, op.To)
	case Remove:
		r.tape.tell(func() { m.remove(op.Name) })
		return true, r.fs.Remove(op.Name)
	}
	r.tape.tell(func() { m.reuse(op.Name, op.To) })
	f, err := r.fs.Reuse(op.Name, op.To)
	return true, r.keep(f, from, op.To, err)
}

func (r *runner) create(name string) error {
	var id fileID
	r.tape.tell(func() { id = r.part.model.create(name) })
	f, err := r.fs.Create(name)
	return r.keep(f, id, name, err)
}

// open makes another handle.
func (r *runner) open(name string) (did bool, err error) {
	id, exists := r.part.model.now()[name]
	if !exists {
		return false, nil
	}
	f, err := r.fs.OpenReadWrite(name, false)
	return true, r.keep(f, id, name, err)
}

// keep adds a handle, or passes on why there is none.
func (r *runner) keep(f *blobfs.File, id fileID, name string, err error) error {
	if err != nil {
		return err
	}
	r.handles = append(r.handles, &handle{f, id, name})
	if len(r.handles) > maxHandles {
		return r.close(r.handles[0])
	}
	return nil
}

func (r *runner) close(h *handle) error {
	r.handles = slices.DeleteFunc(r.handles, func(o *handle) bool { return o == h })
	return h.f.Close()
}

// target is the newest handle of the file with a name, or of one that had the name and lost it; nil if there is none.
func (r *runner) target(name string) (*handle, error) {
	id, exists := r.part.model.now()[name]
	for _, h := range slices.Backward(r.handles) {
		if exists && h.id == id || !exists && h.name == name {
			return h, nil
		}
	}
	if did, err := r.open(name); !did || err != nil {
		return nil, err
	}
	return r.handles[len(r.handles)-1], nil
}

// change carries out an operation on a file.
func (r *runner) change(h *handle, op Op) (did bool, err error) {
	f := r.part.model.files[h.id]
	size := len(f.content)
	switch op.Kind {
	case Append:
		return true, r.write(h, size, op.N)
	case Overwrite:
		if f.reused {
			op.At = min(op.At, size) // a gap in it is unspecified
		}
		return true, r.write(h, op.At, op.N)
	case Truncate:
		if f.reused {
			return false, nil
		}
		r.tape.tell(func() { r.part.model.truncate(h.id, op.N) })
		return true, h.f.Truncate(int64(op.N))
	case Preallocate:
		return true, h.f.Preallocate(int64(size), int64(op.N))
	case WriteBack:
		_, err := h.f.SyncTo(int64(size))
		return true, err
	case Close:
		return true, r.close(h)
	}
	return true, r.sync(h)
}

// write takes what the file system took: an error comes with how much of it that is.
func (r *runner) write(h *handle, off, n int) error {
	r.writes++
	p := data(n, r.writes)
	before := r.part.model.snapshot()
	r.tape.tell(func() { r.part.model.write(h.id, off, p) })
	n, err := h.f.WriteAt(p, int64(off))
	if err != nil {
		r.tape.tell(func() {
			r.part.model = before
			if n > 0 {
				r.part.model.write(h.id, off, p[:n])
			}
		})
	}
	return err
}

func (r *runner) sync(h *handle) error {
	m := &r.part.model
	r.tape.tell(func() { m.syncBegins(h.id) })
	if err := h.f.Sync(); err != nil {
		return err
	}
	if m.files[h.id].reused {
		if err := r.settle(h); err != nil {
			return err
		}
	}
	r.tape.tell(func() { m.synced(h.id) })
	return nil
}

// settle learns what a reused file holds where that is unspecified.
func (r *runner) settle(h *handle) error {
	seen := make([]byte, len(r.part.model.files[h.id].content))
	if _, err := h.f.ReadAt(seen, 0); err != nil && err != io.EOF {
		return err
	}
	var bad string
	r.tape.tell(func() {
		r.part.model.update(h.id, func(f *file) { bad = f.settle(seen) })
	})
	if bad != "" {
		return fmt.Errorf("reused file: %s", bad)
	}
	return nil
}

// readAll reads a whole file.
func readAll(fs *blobfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(f)
	return content, errors.Join(err, f.Close())
}
