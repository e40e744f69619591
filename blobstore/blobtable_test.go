package blobstore

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBlobTable compares a table with a map.
func TestBlobTable(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var table blobTable[int]
	model := make(map[BlobID]*int)
	for range 20_000 {
		id := blobIDOf(pageIndex(rng.IntN(8 * tablePiece)))
		if rng.IntN(20) == 0 {
			id = blobIDOf(pageIndex(rng.IntN(1 << 24)))
		}
		if rng.IntN(3) == 0 {
			table.remove(id)
			delete(model, id)
		} else {
			v := rng.Int()
			table.put(id, &v)
			model[id] = &v
		}
		require.Equal(t, len(model), table.len())
		require.Same(t, model[id], table.get(id))
	}
	var ids []BlobID
	for id, v := range table.all() {
		require.Same(t, model[id], v)
		ids = append(ids, id)
	}
	require.Equal(t, slices.Sorted(maps.Keys(model)), ids)
	for _, id := range []BlobID{0, noBlob, 1, blobIDOf(1 << 30), 2<<32 | 5} {
		require.Nil(t, table.get(id), "%v", id)
	}
}
