package kv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFullStoreHeals fills devices of several sizes with values of several sizes, in key order and at random, until a
// lasting ErrNoSpace, deletes all but a few keys one by one, compacts, and fills them again: nothing of what was deleted
// may be left to be in the way.
func TestFullStoreHeals(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for _, device := range []string{"malloc:64MiB", "malloc:16MiB", "malloc:256MiB"}[:rounds(3, 1)] {
		for _, size := range []int{8000, 300, 16000}[:rounds(3, 1)] {
			for _, random := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/random=%v", device, size, random), func(t *testing.T) {
					t.Parallel()
					t.Logf("seed %d", seed)
					fillDeleteFill(t, device, size, random, seed)
				})
			}
		}
	}
}

func fillDeleteFill(t *testing.T, device string, size int, random bool, seed uint64) {
	db := openTest(t, device, &Options{CreateIfMissing: true})
	rng := rand.New(rand.NewPCG(seed, 1))
	order := func(n int) []byte {
		if random {
			return fmt.Appendf(nil, "%016x", rand.New(rand.NewPCG(seed, uint64(n))).Uint64())
		}
		return fmt.Appendf(nil, "%016d", n)
	}
	n := fillLastingly(t, db, func(n int) ([]byte, []byte) { return order(n), noise(rng, size) })
	m, err := db.Metrics()
	require.NoError(t, err)
	t.Logf("%d keys, %d of %d KB, free %d KB, reserve %d KB, %d background errors", n, n*size>>10, m.Space.TotalBytes>>10,
		m.Space.FreeBytes>>10, m.Reserve>>10, m.BackgroundErrors)

	start := time.Now()
	for i := range n {
		if i%100 == 99 {
			continue
		}
		require.NoError(t, db.Delete(order(i), NoSync), "key %d of %d", i, n)
	}
	t.Logf("deleted in %v", time.Since(start))
	require.NoError(t, db.Compact(t.Context(), nil, nil))
	t.Logf("compacted after %v", time.Since(start))
	for i := 99; i < n; i += 100 {
		_, err := db.Get(order(i))
		require.NoError(t, err)
	}
	waitForSpace(t, db)
	again := fillLastingly(t, db, func(n int) ([]byte, []byte) { return order(1<<30 + n), noise(rng, size) })
	t.Logf("full again after %v", time.Since(start))
	require.Greater(t, again, n*3/4, "of %d keys before", n)
}

// fillLastingly writes until there is no space and waiting does not help, and returns the number of keys written.
func fillLastingly(t *testing.T, db *DB, next func(n int) (k, v []byte)) int {
	n := 0
	for waited := 0; waited < 20; {
		k, v := next(n)
		err := db.Set(k, v, NoSync)
		switch {
		case err == nil:
			n, waited = n+1, 0
		case errors.Is(err, ErrNoSpace):
			waited++
			time.Sleep(50 * time.Millisecond)
		default:
			require.NoError(t, err)
		}
	}
	return n
}
