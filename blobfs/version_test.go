package blobfs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestVersion follows the number of a file's content through everything that may and may not change it.
func TestVersion(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	seen := map[uint64]string{0: "nothing"}
	unseen := func(f *File, what string) uint64 {
		t.Helper()
		v := f.Version()
		require.NotContains(t, seen, v, what)
		seen[v] = what
		return v
	}
	w := e.openWrite("/f")
	r, err := e.Open("/f")
	require.NoError(t, err)
	require.Zero(t, r.Version(), "open for writing")
	require.Zero(t, w.Version())
	require.NoError(t, w.Close())
	v := unseen(r, "a first content")

	again, err := e.Open("/f")
	require.NoError(t, err)
	require.Equal(t, v, again.Version(), "the same content through another handle")
	require.NoError(t, again.Close())
	require.Zero(t, again.Version(), "closed")
	require.NoError(t, r.Close())
	require.NoError(t, e.Rename("/f", "/g"))
	r, err = e.Open("/g")
	require.NoError(t, err)
	require.Equal(t, v, r.Version(), "neither a new name nor the last Close changes content")

	w, err = e.OpenReadWrite("/g", false)
	require.NoError(t, err)
	require.Zero(t, r.Version(), "open for writing again")
	require.NoError(t, w.Close())
	unseen(r, "content after a writer")
	require.NoError(t, e.ForgetVersion("/g"))
	unseen(r, "content that was forgotten")
	require.Error(t, e.ForgetVersion("/nothing"))

	// A blob id is a page index and comes back at once; the number does not.
	require.NoError(t, r.Close())
	id := func() uint64 {
		info, err := e.Stat("/g")
		require.NoError(t, err)
		return uint64(info.ID)
	}
	old := id()
	require.NoError(t, e.Remove("/g"))
	require.NoError(t, e.Sync())
	reused := false
	for range 8 {
		require.NoError(t, e.openWrite("/g").Close())
		reused = reused || id() == old
		r, err = e.Open("/g")
		require.NoError(t, err)
		unseen(r, "another file")
		require.NoError(t, r.Close())
		require.NoError(t, e.Remove("/g"))
		require.NoError(t, e.Sync())
	}
	require.True(t, reused, "the test meant to see a blob id again")

	d, err := e.Open("/")
	require.NoError(t, err)
	require.Zero(t, d.Version(), "a directory")
	require.NoError(t, d.Close())
}
