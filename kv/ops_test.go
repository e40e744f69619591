package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEmptyKey: the empty key never reaches the engine, which could not write it into a table. As the start of a range it is
// the beginning of all keys, in tables too.
func TestEmptyKey(t *testing.T) {
	db := newTest(t)
	b := db.NewBatch()
	for _, empty := range [][]byte{nil, {}} {
		require.ErrorIs(t, db.Set(empty, value(1, 10)), ErrEmptyKey)
		require.ErrorIs(t, db.Delete(empty), ErrEmptyKey)
		require.ErrorIs(t, b.Set(empty, nil), ErrEmptyKey)
		require.ErrorIs(t, b.Delete(empty), ErrEmptyKey)
		_, err := db.Get(empty)
		require.ErrorIs(t, err, ErrNotFound)
	}
	require.NoError(t, b.Close())
	for i := range 3 {
		require.NoError(t, db.Set(key(i), value(i, 10)))
	}
	require.NoError(t, db.Flush())
	require.NoError(t, db.DeleteRange(nil, key(2)))
	require.NoError(t, db.Flush())
	require.NoError(t, db.Compact(t.Context(), nil, nil))
	_, err := db.Get(key(1))
	require.ErrorIs(t, err, ErrNotFound)
	requireValue(t, db, key(2), value(2, 10))
}

func TestGetSetDelete(t *testing.T) {
	db := newTest(t)
	_, err := db.Get(key(1))
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, db.Set(key(1), []byte("one")))
	require.NoError(t, db.Set(key(2), nil))
	requireValue(t, db, key(1), []byte("one"))
	requireValue(t, db, key(2), []byte{})

	buf, err := db.GetAppend([]byte("got:"), key(1))
	require.NoError(t, err)
	require.Equal(t, "got:one", string(buf))
	buf, err = db.GetAppend(buf, key(3))
	require.ErrorIs(t, err, ErrNotFound)
	require.Equal(t, "got:one", string(buf))

	var seen string
	require.NoError(t, db.View(key(1), func(v []byte) error { seen = string(v); return nil }))
	require.Equal(t, "one", seen)
	stop := errors.New("stop")
	require.ErrorIs(t, db.View(key(1), func([]byte) error { return stop }), stop)
	require.ErrorIs(t, db.View(key(3), func([]byte) error { panic("no value") }), ErrNotFound)

	for k, want := range map[int]bool{1: true, 2: true, 3: false} {
		got, err := db.Has(key(k))
		require.NoError(t, err)
		require.Equal(t, want, got, "%d", k)
	}
	require.NoError(t, db.Delete(key(1)))
	require.NoError(t, db.Delete(key(1)))
	_, err = db.Get(key(1))
	require.ErrorIs(t, err, ErrNotFound)
}

// TestGetIsACopy changes what Get returned.
func TestGetIsACopy(t *testing.T) {
	db := newTest(t)
	require.NoError(t, db.Set(key(1), []byte("one")))
	require.NoError(t, db.Flush())
	v, err := db.Get(key(1))
	require.NoError(t, err)
	v[0] = 'X'
	requireValue(t, db, key(1), []byte("one"))
}

func TestDeleteRange(t *testing.T) {
	db := newTest(t)
	for i := range 10 {
		require.NoError(t, db.Set(key(i), nil, NoSync))
	}
	require.NoError(t, db.DeleteRange(key(3), key(7)))
	require.NoError(t, db.DeleteRange(key(9), key(8)), "an empty range")
	require.NoError(t, db.DeleteRange(key(9), key(9)), "an empty range")
	for i := range 10 {
		got, err := db.Has(key(i))
		require.NoError(t, err)
		require.Equal(t, i < 3 || i >= 7, got, "%d", i)
	}
}

func TestBatch(t *testing.T) {
	db := newTest(t)
	require.NoError(t, db.Set(key(1), []byte("old")))
	b := db.NewBatch()
	require.NoError(t, b.Set(key(1), []byte("new")))
	require.NoError(t, b.Set(key(2), []byte("two")))
	require.NoError(t, b.Delete(key(2)))
	require.NoError(t, b.Set(key(3), []byte("three")))
	require.NoError(t, b.DeleteRange(key(5), key(4)))
	require.Equal(t, 4, b.Count())
	requireValue(t, db, key(1), []byte("old")) // nothing is visible yet
	require.NoError(t, b.Commit())
	requireValue(t, db, key(1), []byte("new"))
	requireValue(t, db, key(3), []byte("three"))
	_, err := db.Get(key(2))
	require.ErrorIs(t, err, ErrNotFound)

	require.Zero(t, b.Count(), "empty after Commit")
	require.NoError(t, b.DeleteRange(key(0), key(9)))
	require.NoError(t, b.Commit(NoSync))
	_, err = db.Get(key(1))
	require.ErrorIs(t, err, ErrNotFound)

	require.NoError(t, b.Set(key(1), nil))
	b.Reset()
	require.NoError(t, b.Commit())
	_, err = db.Get(key(1))
	require.ErrorIs(t, err, ErrNotFound)

	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Set(key(1), nil), ErrClosed)
	require.ErrorIs(t, b.Commit(), ErrClosed)
	require.Zero(t, b.Count())
	require.Zero(t, b.Size())
	b.Reset()
}

// TestLargeBatch commits more than a memtable holds.
func TestLargeBatch(t *testing.T) {
	db := newTest(t)
	b := db.NewBatch()
	for i := range 300 {
		require.NoError(t, b.Set(key(i), value(i, 64<<10)))
	}
	require.NoError(t, b.Commit())
	require.NoError(t, b.Close())
	for i := range 300 {
		requireValue(t, db, key(i), value(i, 64<<10))
	}
}

func TestTooLarge(t *testing.T) {
	db := newTest(t)
	huge := make([]byte, MaxKeySize+1)
	require.ErrorIs(t, db.Set(huge, nil), ErrTooLarge)
	require.ErrorIs(t, db.Delete(huge), ErrTooLarge)
	b := db.NewBatch()
	defer b.Close()
	require.ErrorIs(t, b.Set(huge, nil), ErrTooLarge)
	require.NoError(t, b.Set(key(1), nil))
}

func TestSnapshot(t *testing.T) {
	db := newTest(t)
	require.NoError(t, db.Set(key(1), []byte("old")))
	sn, err := db.NewSnapshot()
	require.NoError(t, err)
	require.NoError(t, db.Set(key(1), []byte("new")))
	require.NoError(t, db.Set(key(2), nil))
	require.NoError(t, db.Compact(t.Context(), nil, nil))
	requireValue(t, sn, key(1), []byte("old"))
	requireValue(t, db, key(1), []byte("new"))
	found, err := sn.Has(key(2))
	require.NoError(t, err)
	require.False(t, found)

	it, err := sn.NewIterator(nil)
	require.NoError(t, err)
	require.True(t, it.First())
	require.Equal(t, []byte("old"), it.Value())
	require.False(t, it.Next())
	require.NoError(t, sn.Close())
	require.True(t, it.First(), "the iterator outlives the snapshot")
	require.NoError(t, it.Close())
	_, err = sn.Get(key(1))
	require.ErrorIs(t, err, ErrClosed)
	_, err = sn.NewIterator(nil)
	require.ErrorIs(t, err, ErrClosed)
}

func TestIterator(t *testing.T) {
	db := newTest(t)
	for i := range 100 {
		require.NoError(t, db.Set(key(2*i), value(i, 20), NoSync))
	}
	it, err := db.NewIterator(nil)
	require.NoError(t, err)
	require.False(t, it.Valid())
	require.Nil(t, it.Key())
	require.Nil(t, it.Value())
	require.True(t, it.First())
	require.Equal(t, key(0), it.Key())
	require.Equal(t, value(0, 20), it.Value())
	require.True(t, it.Last())
	require.Equal(t, key(198), it.Key())
	require.False(t, it.Next())
	require.True(t, it.Prev())
	require.Equal(t, key(198), it.Key())
	require.True(t, it.SeekGE(key(51)))
	require.Equal(t, key(52), it.Key())
	require.True(t, it.SeekLT(key(52)))
	require.Equal(t, key(50), it.Key())
	require.False(t, it.SeekGE(key(199)))
	require.False(t, it.SeekLT(key(0)))
	require.NoError(t, it.Error())
	require.NoError(t, it.Close())
	require.False(t, it.First() || it.Last() || it.Next() || it.Prev() || it.Valid() || it.SeekGE(nil) || it.SeekLT(nil))
}

func TestIteratorBoundsAndRange(t *testing.T) {
	db := newTest(t)
	for i := range 100 {
		require.NoError(t, db.Set(key(i), value(i, 20), NoSync))
	}
	it, err := db.NewIterator(&IterOptions{LowerBound: key(10), UpperBound: key(20)})
	require.NoError(t, err)
	var forward, backward []string
	for k, v := range it.All() {
		require.Equal(t, value(10+len(forward), 20), v)
		forward = append(forward, string(k))
	}
	for k := range it.Backward() {
		backward = append(backward, string(k))
	}
	require.Len(t, forward, 10)
	slices.Reverse(backward)
	require.Equal(t, forward, backward)
	n := 0
	for range it.All() {
		if n++; n == 3 {
			break
		}
	}
	require.Equal(t, 3, n)
	require.NoError(t, it.Close())
}

// TestRandomModel does random things and compares with a map, also across flushes, compactions and reopening.
func TestRandomModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	device := image(t)
	o := &Options{CreateIfMissing: true, MemTableSize: minMemTableSize}
	db := openTest(t, device, o)
	model := map[string]string{}
	for step := range rounds(6000, 1500) {
		k, v := key(rng.IntN(300)), make([]byte, rng.IntN(2000))
		for i := range v {
			v[i] = byte(rng.Uint32())
		}
		switch r := rng.IntN(1000); {
		case r < 700:
			require.NoError(t, db.Set(k, v, NoSync))
			model[string(k)] = string(v)
		case r < 900:
			require.NoError(t, db.Delete(k, NoSync))
			delete(model, string(k))
		case r < 980:
			end := key(rng.IntN(300))
			require.NoError(t, db.DeleteRange(k, end, NoSync))
			for m := range model {
				if m >= string(k) && m < string(end) {
					delete(model, m)
				}
			}
		case r < 995:
			require.NoError(t, db.Flush())
		case r < 998:
			require.NoError(t, db.Compact(t.Context(), nil, nil))
		default:
			require.NoError(t, db.Close())
			db = openTest(t, device, o)
		}
		if step%500 == 499 {
			requireModel(t, db, model)
		}
	}
	require.NoError(t, db.Close())
}

// requireModel compares every key and value, by Get and by an iterator.
func requireModel(t *testing.T, db *DB, model map[string]string) {
	t.Helper()
	it, err := db.NewIterator(nil)
	require.NoError(t, err)
	n := 0
	var last []byte
	for k, v := range it.All() {
		require.Less(t, string(last), string(k), "order")
		last = bytes.Clone(k)
		require.Equal(t, model[string(k)], string(v), "%s", k)
		n++
	}
	require.NoError(t, it.Close())
	require.Equal(t, len(model), n)
	for k, v := range model {
		requireValue(t, db, []byte(k), []byte(v))
	}
}

// TestConcurrent writes from many goroutines, each its own keys, synced and not.
func TestConcurrent(t *testing.T) {
	db := newTest(t)
	errs := make(chan error)
	for g := range 16 {
		go func() {
			var err error
			for i := 0; i < 100 && err == nil; i++ {
				k := fmt.Appendf(nil, "%d/%d", g, i)
				if i%2 == 0 {
					err = db.Set(k, k)
				} else {
					err = db.Set(k, k, NoSync)
				}
			}
			errs <- err
		}()
	}
	for range 16 {
		require.NoError(t, <-errs)
	}
	for g := range 16 {
		for i := range 100 {
			k := fmt.Appendf(nil, "%d/%d", g, i)
			requireValue(t, db, k, k)
		}
	}
}

func TestMetrics(t *testing.T) {
	db := newTest(t)
	for i := range 100 {
		require.NoError(t, db.Set(key(i), value(i, 1000)))
	}
	require.NoError(t, db.Flush())
	m, err := db.Metrics()
	require.NoError(t, err)
	require.Positive(t, m.Reserve)
	require.Positive(t, m.Available)
	require.Less(t, m.Available, m.Space.TotalBytes)
	require.EqualValues(t, 1, m.Engine.Levels[0].TablesCount+m.Engine.Levels[6].TablesCount)
	require.Zero(t, m.BackgroundErrors)
	require.NoError(t, m.LastBackgroundError)
	require.Contains(t, m.String(), "level")
}

func TestGateStripes(t *testing.T) {
	var g gate
	s, ok := g.enter()
	require.True(t, ok)
	closed := make(chan bool)
	go func() { closed <- g.close() }()
	for !g.closed.Load() {
		time.Sleep(time.Microsecond)
	}
	_, ok = g.enter()
	require.False(t, ok)
	select {
	case <-closed:
		t.Fatal("closed with a call inside")
	case <-time.After(20 * time.Millisecond):
	}
	g.leave(s)
	require.True(t, <-closed)
	require.False(t, g.close())
	g.open()
	_, ok = g.enter()
	require.True(t, ok)
}
