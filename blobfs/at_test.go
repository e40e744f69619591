package blobfs

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// makeAt creates a file and closes it.
func makeAt(t *testing.T, dir Node, name, content string) Node {
	t.Helper()
	n, f, err := dir.Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(content), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return n
}

// TestNodeStays: a node is the same one whatever happens to the names above it.
func TestNodeStays(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	a, err := e.Root().Mkdir("a")
	require.NoError(t, err)
	sub, err := a.Mkdir("sub")
	require.NoError(t, err)
	file := makeAt(t, sub, "f", "content")
	require.NoError(t, e.Root().Rename("a", e.Root(), "b", false))
	require.NoError(t, sub.Link(file, "g"))
	require.NoError(t, sub.Rename("f", e.Root(), "moved", false))
	require.Equal(t, "content", string(e.read("/b/sub/g")))

	byName, info, err := e.Root().Lookup("moved")
	require.NoError(t, err)
	require.True(t, byName == file, "one node for all names")
	require.Equal(t, 2, info.Links)
	entries, err := sub.List()
	require.NoError(t, err)
	require.Len(t, entries, 1)
	f, err := file.Open(true)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("C"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, "Content", string(e.read("/moved")))
}

func TestNodeErrors(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	root := e.Root()
	dir, err := root.Mkdir("dir")
	require.NoError(t, err)
	file := makeAt(t, dir, "f", "1")
	makeAt(t, root, "other", "2")
	long := strings.Repeat("n", MaxName+1)

	_, _, err = dir.Create("f")
	require.ErrorIs(t, err, ErrExist)
	_, err = dir.Mkdir("f")
	require.ErrorIs(t, err, ErrExist)
	_, err = dir.Mkdir(long)
	require.ErrorIs(t, err, ErrNameTooLong)
	require.ErrorIs(t, err, ErrInvalid)
	_, _, err = dir.Lookup("nothing")
	require.ErrorIs(t, err, ErrNotExist)
	_, _, err = file.Lookup("x")
	require.ErrorIs(t, err, ErrNotDir)
	_, err = file.List()
	require.ErrorIs(t, err, ErrNotDir)
	_, err = dir.Open(true)
	require.ErrorIs(t, err, ErrIsDir)
	require.ErrorIs(t, root.Unlink("dir"), ErrIsDir)
	require.ErrorIs(t, root.Rmdir("other"), ErrNotDir)
	require.ErrorIs(t, root.Rmdir("dir"), ErrNotEmpty)
	require.ErrorIs(t, root.Rename("other", dir, "f", false), ErrExist)
	require.ErrorIs(t, root.Rename("dir", dir, "inside", true), ErrInvalid)
	require.ErrorIs(t, root.Link(dir, "second"), ErrIsDir)
	require.ErrorIs(t, root.Link(file, "other"), ErrExist)
	for _, name := range []string{"", ".", "..", "a/b", "nul\x00"} {
		require.ErrorIs(t, root.Unlink(name), ErrInvalid, "%q", name)
	}
	require.NoError(t, root.Rename("other", dir, "f", true))
	require.Equal(t, "2", string(e.read("/dir/f")))
}

// TestNodeOfRemoved: nothing can be made in a directory that is gone, and a file without names lives as long as a handle.
func TestNodeOfRemoved(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	dir, err := e.Root().Mkdir("dir")
	require.NoError(t, err)
	require.NoError(t, e.Root().Rmdir("dir"))
	_, _, err = dir.Create("f")
	require.ErrorIs(t, err, ErrNotExist)
	_, err = dir.Open(false)
	require.ErrorIs(t, err, ErrNotExist)
	info, err := dir.Stat()
	require.NoError(t, err)
	require.Zero(t, info.Links)

	file, f, err := e.Root().Create("f")
	require.NoError(t, err)
	require.NoError(t, e.Root().Unlink("f"))
	again, err := file.Open(true)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = again.WriteAt([]byte("still here"), 0)
	require.NoError(t, err)
	require.ErrorIs(t, e.Root().Link(file, "g"), ErrNotExist)
	require.NoError(t, again.Close())
	_, err = file.Open(false)
	require.ErrorIs(t, err, ErrNotExist)
	require.ErrorIs(t, file.SetModTime(time.Now()), ErrNotExist)
}

// TestIdentity: a blob id that is given out again comes with another generation.
func TestIdentity(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	type identity struct {
		id   uint64
		made uint32
	}
	seen, ids := map[identity]bool{}, map[uint64]bool{}
	for range 50 {
		n := makeAt(t, e.Root(), "f", "")
		id, made := n.Identity()
		require.False(t, seen[identity{uint64(id), made}])
		seen[identity{uint64(id), made}], ids[uint64(id)] = true, true
		require.NoError(t, e.Root().Unlink("f"))
		require.NoError(t, e.FS.Sync())
	}
	require.Less(t, len(ids), len(seen), "no id came twice: this test proves nothing")
}

// TestSetModTime: a time that was set is there after a remount, whether the length was synced before or not, and the next
// write replaces it.
func TestSetModTime(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	past := time.Unix(1_000_000_000, 123)
	modTime := func(name string) time.Time {
		info, err := e.Stat(name)
		require.NoError(t, err)
		return info.ModTime
	}
	e.create("/synced", []byte("x"))
	makeAt(t, e.Root(), "unsynced", "y")
	makeAt(t, e.Root(), "empty", "")
	names := []string{"synced", "unsynced", "empty"}
	for _, name := range names {
		n, _, err := e.Root().Lookup(name)
		require.NoError(t, err)
		require.NoError(t, n.SetModTime(past))
		require.True(t, past.Equal(modTime(name)), name)
	}
	for _, change := range []func() error{
		func() error { return e.Mkdir("/dir") },
		func() error { return e.Root().Rename("dir", e.Root(), "moved", false) },
		func() error { return e.Remove("/moved") },
	} {
		require.NoError(t, e.Root().SetModTime(past))
		require.True(t, past.Equal(modTime("/")))
		require.NoError(t, change())
		require.True(t, modTime("/").After(past))
	}
	e.remount()
	for _, name := range names {
		require.True(t, past.Equal(modTime(name)), name)
	}
	f := e.openWrite("/synced")
	_, err := f.WriteAt([]byte("z"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.True(t, modTime("/synced").After(past))
}

// TestHandleInParallel uses one handle from several goroutines at once, each in a range of its own, while others sync,
// look and preallocate: every range ends up with what was written there last.
func TestHandleInParallel(t *testing.T) {
	e := newEnv(t, 32<<20, Options{})
	f := e.openWrite("/f")
	const workers, span, rounds = 4, 100_000, 40
	seed := seedOf(t)
	want := make([]byte, workers*span)
	require.NoError(t, f.Truncate(int64(len(want))))
	var wg sync.WaitGroup
	work := func(w int) error {
		rng := rngOf(seed, uint64(w))
		mine := want[w*span:][:span]
		got := make([]byte, span)
		for range rounds {
			off := rng.IntN(span)
			n := rng.IntN(min(span-off, 9000)) + 1
			fillRandom(rng, mine[off:off+n])
			if _, err := f.WriteAt(mine[off:off+n], int64(w*span+off)); err != nil {
				return err
			}
			if _, err := f.ReadAt(got, int64(w*span)); err != nil {
				return err
			}
			if d := diff(mine, got); d != "" {
				t.Errorf("worker %d: %s", w, d)
			}
			if err := oneMore(f, rng); err != nil {
				return err
			}
		}
		return nil
	}
	for w := range workers {
		wg.Go(func() {
			if err := work(w); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, f.Close())
	require.Empty(t, diff(want, e.read("/f")))
}

func fillRandom(rng *rand.Rand, p []byte) {
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
}

// oneMore does something on the handle that changes no byte.
func oneMore(f *File, rng *rand.Rand) error {
	var err error
	switch rng.IntN(5) {
	case 0:
		err = f.Sync()
	case 1:
		_, err = f.Stat()
	case 2:
		err = f.Preallocate(0, 600_000)
	case 3:
		_, err = f.SyncTo(200_000)
	case 4:
		f.SetSequential()
		err = f.Prefetch(0, 1000)
	}
	return err
}
