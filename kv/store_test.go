package kv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReopen(t *testing.T) {
	device := image(t)
	db := openTest(t, device, &Options{CreateIfMissing: true, ErrorIfExists: true})
	for i := range 1000 {
		require.NoError(t, db.Set(key(i), value(i, 100), NoSync))
	}
	require.NoError(t, db.Delete(key(7)))
	require.NoError(t, db.Close())

	for round := range 3 {
		db = openTest(t, device, nil)
		for i := range 1000 {
			if i == 7 {
				_, err := db.Get(key(i))
				require.ErrorIs(t, err, ErrNotFound)
				continue
			}
			requireValue(t, db, key(i), value(i, 100))
		}
		if round == 1 {
			require.NoError(t, db.Compact(t.Context(), nil, nil))
		}
		require.NoError(t, db.Close())
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.img")
	_, err := Open(missing, nil)
	require.ErrorIs(t, err, ErrNotStore)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "CreateIfMissing")
	_, err = os.Stat(missing)
	require.ErrorIs(t, err, fs.ErrNotExist, "nothing was made")

	blank := filepath.Join(dir, "blank.img")
	require.NoError(t, os.WriteFile(blank, make([]byte, 32<<20), 0o600))
	_, err = Open(blank, nil)
	require.ErrorIs(t, err, ErrNotStore)
	require.Equal(t, 1, strings.Count(err.Error(), blank), "%v", err)
	openTest(t, blank, &Options{CreateIfMissing: true})

	text := filepath.Join(dir, "letter.txt")
	letter := []byte(strings.Repeat("Dear reader, this is no store. ", 1<<20))
	letter = letter[:len(letter)&^4095]
	require.NoError(t, os.WriteFile(text, letter, 0o600))
	_, err = Open(text, nil)
	require.ErrorIs(t, err, ErrNotStore)
	_, err = Open(text, &Options{CreateIfMissing: true})
	require.ErrorIs(t, err, ErrNotStore)
	after, err := os.ReadFile(text)
	require.NoError(t, err)
	require.Equal(t, letter, after, "the letter was overwritten")

	_, err = Open("nosuch:thing", nil)
	require.ErrorContains(t, err, "malloc")

	for _, bad := range []Options{
		{Compression: 99},
		{Size: -1},
		{MemTableSize: -5},
		{MemTableSize: 2 << 30},
		{ReadOnly: true, CreateIfMissing: true},
		{ReadOnly: true, ErrorIfExists: true},
	} {
		_, err = Open("malloc:64MiB", &bad)
		require.ErrorContains(t, err, "options")
	}
}

func TestErrorIfExists(t *testing.T) {
	device := image(t)
	db := openTest(t, device, &Options{CreateIfMissing: true})
	require.NoError(t, db.Set(key(1), value(1, 10)))
	require.NoError(t, db.Close())
	_, err := Open(device, &Options{CreateIfMissing: true, ErrorIfExists: true})
	require.ErrorIs(t, err, ErrExists)
	requireValue(t, openTest(t, device, nil), key(1), value(1, 10))
}

func TestInUse(t *testing.T) {
	device := image(t)
	openTest(t, device, &Options{CreateIfMissing: true})
	for _, o := range []*Options{nil, {ReadOnly: true}, {CreateIfMissing: true}} {
		_, err := Open(device, o)
		require.ErrorIs(t, err, ErrInUse)
	}
}

func TestReadOnlyChangesNothing(t *testing.T) {
	device := image(t)
	path, _, _ := strings.Cut(device, "?")
	db := openTest(t, device, &Options{CreateIfMissing: true})
	require.NoError(t, db.Set(key(1), value(1, 10)))
	require.NoError(t, db.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)

	ro := openTest(t, device, &Options{ReadOnly: true})
	requireValue(t, ro, key(1), value(1, 10))
	require.ErrorIs(t, ro.Set(key(2), nil), ErrReadOnly)
	require.ErrorIs(t, ro.Delete(key(1)), ErrReadOnly)
	require.ErrorIs(t, ro.DeleteRange(key(1), key(9)), ErrReadOnly)
	require.ErrorIs(t, ro.Compact(t.Context(), nil, nil), ErrReadOnly)
	b := ro.NewBatch()
	require.NoError(t, b.Set(key(3), nil))
	require.ErrorIs(t, b.Commit(), ErrReadOnly)
	require.NoError(t, b.Close())
	second := openTest(t, device, &Options{ReadOnly: true}) // readers do not exclude each other
	requireValue(t, second, key(1), value(1, 10))
	require.NoError(t, second.Close())
	require.NoError(t, ro.Close())

	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, string(before) == string(after), "reading changed the image")
}

func TestClosed(t *testing.T) {
	db := newTest(t)
	require.NoError(t, db.Set(key(1), nil))
	b := db.NewBatch()
	require.NoError(t, b.Set(key(2), nil))
	require.NoError(t, db.Close())

	_, err := db.Get(key(1))
	require.ErrorIs(t, err, ErrClosed)
	_, err = db.Has(key(1))
	require.ErrorIs(t, err, ErrClosed)
	_, err = db.NewIterator(nil)
	require.ErrorIs(t, err, ErrClosed)
	_, err = db.NewSnapshot()
	require.ErrorIs(t, err, ErrClosed)
	_, err = db.Metrics()
	require.ErrorIs(t, err, ErrClosed)
	for _, f := range []func() error{
		func() error { return db.Set(key(1), nil) },
		func() error { return db.Delete(key(1)) },
		func() error { return db.DeleteRange(key(1), key(2)) },
		func() error { return b.Commit() },
		func() error { return db.Flush() },
		func() error { return db.Compact(t.Context(), nil, nil) },
		func() error { return db.View(key(1), ignoreValue) },
		func() error { return db.Close() },
	} {
		require.ErrorIs(t, f(), ErrClosed)
	}
	require.NoError(t, b.Close())
}

func TestCloseWithOpenHandles(t *testing.T) {
	db := newTest(t)
	require.NoError(t, db.Set(key(1), value(1, 10)))
	it, err := db.NewIterator(nil)
	require.NoError(t, err)
	sn, err := db.NewSnapshot()
	require.NoError(t, err)
	require.ErrorIs(t, db.Close(), ErrOpenHandles)
	requireValue(t, db, key(1), value(1, 10)) // it stays open
	require.NoError(t, it.Close())
	require.NoError(t, it.Close())
	require.ErrorIs(t, db.Close(), ErrOpenHandles)
	require.NoError(t, sn.Close())
	require.NoError(t, sn.Close())
	require.NoError(t, db.Close())
}

// TestCloseWhileBusy closes the store under readers and writers: each call succeeds or says that it is closed.
func TestCloseWhileBusy(t *testing.T) {
	db := newTest(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				k := key(g*1e6 + i)
				err := db.Set(k, k, NoSync)
				if err == nil {
					_, err = db.Get(k)
				}
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 100 {
		require.NoError(t, db.Set(key(i), nil))
	}
	require.NoError(t, db.Close())
	wg.Wait()
}
