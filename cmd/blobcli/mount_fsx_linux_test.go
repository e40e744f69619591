package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	fsxOps      = 1200    // of one round
	fsxFiles    = 3       // names that are written, renamed and linked
	fsxMaxSize  = 600_000 // bytes of a file
	fsxMaxWrite = 80_000  // bytes of one write
)

// fsx does the same random operations on a mount and on a plain folder, the model, and compares.
type fsx struct {
	t     *testing.T
	rng   *rand.Rand
	roots [2]string              // the mount and the model
	files map[string][2]*os.File // open ones
	op    int
}

// TestMountRandom is fsx on a mount: three rounds on one store with an unmount and a check between them.
func TestMountRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("BLOBCLI_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 0, 64)
		require.NoError(t, err)
	}
	t.Logf("seed: BLOBCLI_SEED=%d", seed)
	device, model := newStore(t), t.TempDir()
	ops := fsxOps
	if testing.Short() {
		ops /= 3
	}
	for round := range uint64(3) {
		m := startMount(t, device, "--rw")
		x := &fsx{t: t, rng: rand.New(rand.NewPCG(seed, round)), roots: [2]string{m.dir, model}, files: map[string][2]*os.File{}}
		x.compareAll()
		for x.op = range ops {
			x.step()
		}
		x.compareAll()
		x.closeAll()
		x.compareAll()
		m.interrupt()
		requireClean(t, device)
	}
}

// both does something on the mount and on the model and demands that it succeeds.
func (x *fsx) both(what string, f func(i int) error) {
	x.t.Helper()
	for i := range x.roots {
		require.NoError(x.t, f(i), "operation %d: %s on %s", x.op, what, x.roots[i])
	}
}

// name picks one of the names.
func (x *fsx) name() string { return fmt.Sprintf("file%d", x.rng.IntN(fsxFiles)) }

// open returns the two open files of a name, which are made if need be.
func (x *fsx) open(name string) [2]*os.File {
	if pair, ok := x.files[name]; ok {
		return pair
	}
	var pair [2]*os.File
	x.both("open", func(i int) (err error) {
		pair[i], err = os.OpenFile(filepath.Join(x.roots[i], name), os.O_RDWR|os.O_CREATE, 0o644)
		return err
	})
	x.files[name] = pair
	return pair
}

func (x *fsx) close(name string) {
	if pair, ok := x.files[name]; ok {
		x.both("close", func(i int) error { return pair[i].Close() })
		delete(x.files, name)
	}
}

func (x *fsx) closeAll() {
	for i := range fsxFiles {
		x.close(fmt.Sprintf("file%d", i))
	}
}

func (x *fsx) step() {
	switch x.rng.IntN(16) {
	case 0, 1, 2, 3:
		x.write()
	case 4, 5, 6:
		x.read()
	case 7, 8:
		x.truncate()
	case 9:
		x.appendOne()
	case 10:
		x.sync()
	case 11:
		x.close(x.name())
	case 12:
		x.rename()
	case 13:
		x.mapped()
	case 14:
		x.remove()
	case 15:
		x.allocate()
	}
}

// content is something that no other operation writes.
func (x *fsx) content() []byte {
	p := make([]byte, x.rng.IntN(fsxMaxWrite)+1)
	for i := range p {
		p[i] = byte(i*x.op) ^ byte(x.op) | 1
	}
	return p
}

func (x *fsx) write() {
	pair, p := x.open(x.name()), x.content()
	off := x.rng.Int64N(fsxMaxSize - int64(len(p)))
	x.both(fmt.Sprintf("write of %d at %d", len(p), off), func(i int) error { return second(pair[i].WriteAt(p, off)) })
}

// appendOne writes through another handle than the one that may be open.
func (x *fsx) appendOne() {
	name, p := x.name(), x.content()
	if info, err := os.Stat(filepath.Join(x.roots[1], name)); err != nil || info.Size() > fsxMaxSize {
		return
	}
	x.both("append", func(i int) error {
		f, err := os.OpenFile(filepath.Join(x.roots[i], name), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		if _, err := f.Write(p); err != nil {
			return err
		}
		return f.Close()
	})
}

// read compares a range, half the time without the kernel's help.
func (x *fsx) read() {
	pair := x.open(x.name())
	if x.rng.IntN(2) == 0 {
		x.dropPages(pair[0])
	}
	off, n := x.rng.Int64N(fsxMaxSize), x.rng.IntN(fsxMaxWrite)+1
	var got [2][]byte
	x.both("read", func(i int) error {
		p := make([]byte, n)
		m, err := pair[i].ReadAt(p, off)
		got[i] = p[:m]
		if err == io.EOF {
			err = nil
		}
		return err
	})
	x.same(fmt.Sprintf("%d bytes at %d of %s", n, off, pair[1].Name()), got)
}

// dropPages makes the kernel ask for a file's bytes again: its page cache would hide what the mount got wrong.
func (x *fsx) dropPages(f *os.File) {
	x.t.Helper()
	require.NoError(x.t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

func (x *fsx) truncate() {
	name, size := x.name(), x.rng.Int64N(fsxMaxSize)
	pair := x.open(name)
	x.both(fmt.Sprintf("truncate to %d", size), func(i int) error {
		if x.op%2 == 0 {
			return os.Truncate(filepath.Join(x.roots[i], name), size)
		}
		return pair[i].Truncate(size)
	})
}

func (x *fsx) sync() {
	pair := x.open(x.name())
	x.both("fsync", func(i int) error { return pair[i].Sync() })
}

func (x *fsx) rename() {
	from, to := x.name(), x.name()
	x.open(from)
	if from == to {
		return
	}
	x.close(to)
	x.both("rename", func(i int) error {
		return os.Rename(filepath.Join(x.roots[i], from), filepath.Join(x.roots[i], to))
	})
	x.files[to] = x.files[from]
	delete(x.files, from)
}

// remove unlinks a name whose handle may be open, half the time keeping the file under another one.
func (x *fsx) remove() {
	name, kept := x.name(), x.name()
	x.open(name)
	_, err := os.Stat(filepath.Join(x.roots[1], kept))
	keep := os.IsNotExist(err)
	x.both("unlink", func(i int) error {
		old := filepath.Join(x.roots[i], name)
		if keep {
			if err := os.Link(old, filepath.Join(x.roots[i], kept)); err != nil {
				return err
			}
		}
		return os.Remove(old)
	})
	pair := x.files[name]
	x.both("write without a name", func(i int) error { return second(pair[i].WriteAt([]byte("still there"), 5)) })
	x.close(name)
}

// mapped changes a few bytes through a shared mapping and compares all of it.
func (x *fsx) mapped() {
	pair := x.open(x.name())
	info, err := pair[1].Stat()
	require.NoError(x.t, err)
	if info.Size() == 0 {
		return
	}
	off := x.rng.Int64N(info.Size())
	var got [2][]byte
	x.both("mmap", func(i int) error {
		data, err := unix.Mmap(int(pair[i].Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(data[off:], "through memory")
		got[i] = bytes.Clone(data)
		return unix.Munmap(data)
	})
	x.same("the mapping", got)
}

// allocate makes a file longer, or only reserves space.
func (x *fsx) allocate() {
	pair := x.open(x.name())
	off, n := x.rng.Int64N(fsxMaxSize/2), x.rng.Int64N(fsxMaxSize/2)+1
	mode := uint32(x.rng.IntN(2) * unix.FALLOC_FL_KEEP_SIZE)
	x.both("fallocate", func(i int) error { return unix.Fallocate(int(pair[i].Fd()), mode, off, n) })
}

// compareAll reads every file to its end.
func (x *fsx) compareAll() {
	for i := range fsxFiles {
		name := fmt.Sprintf("file%d", i)
		if pair, ok := x.files[name]; ok {
			x.dropPages(pair[0])
		}
		var got [2][]byte
		var missing [2]bool
		x.both("compare", func(i int) (err error) {
			got[i], err = os.ReadFile(filepath.Join(x.roots[i], name))
			if missing[i] = os.IsNotExist(err); missing[i] {
				err = nil
			}
			return err
		})
		require.Equal(x.t, missing[1], missing[0], name)
		x.same(name, got)
	}
}

// same demands that mount and model hold the same bytes.
func (x *fsx) same(what string, got [2][]byte) {
	x.t.Helper()
	if bytes.Equal(got[0], got[1]) {
		return
	}
	at := 0
	for at < min(len(got[0]), len(got[1])) && got[0][at] == got[1][at] {
		at++
	}
	x.t.Fatalf("operation %d: %s: %d bytes on the mount, %d on the model, first difference at %d", x.op, what, len(got[0]), len(got[1]), at)
}
