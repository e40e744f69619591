package blobfs

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobstore"
)

// TestFullDevice fills a device to the last cluster and the last metadata page. Whatever needs more is refused before
// anything has changed; what needs none goes on: overwriting, syncing, removing, renaming over, and the journal through many
// checkpoints. A power cut changes nothing about that, and what is removed can be used again.
func TestFullDevice(t *testing.T) {
	disk := crashbdev.New(crashbdev.Options{Size: 3 << 20})
	dev, err := disk.Open("full")
	require.NoError(t, err)
	require.NoError(t, Format(dev, FormatOptions{blobstore.FormatOptions{ClusterSize: 64 << 10, MDPages: 32, JournalSize: 256 << 10}}))
	e := &env{t: t, dev: dev, o: Options{WriteBufferBytes: 1 << 20}}
	e.mount()
	want := fillUp(t, e)
	requireFull(t, e, want)
	workOnFull(t, e, want)
	requireFull(t, e, want)
	require.NoError(t, e.FS.Sync())

	after, err := disk.Cut(crashbdev.LoseAll, 1).Open("after")
	require.NoError(t, err)
	left := &env{t: t, dev: after, o: e.o}
	left.mount()
	requireFull(t, left, want)
	workOnFull(t, left, want)
	for name := range want {
		require.NoError(t, left.Remove(name))
	}
	require.Len(t, fillUp(t, left), len(want), "what was removed is not all free again")
	left.finish()
	e.finish()
	require.NoError(t, errors.Join(after.Close(), dev.Close()))
}

// fillUp makes one large file of all clusters, and empty ones of all metadata pages.
func fillUp(t *testing.T, e *env) map[string][]byte {
	t.Helper()
	want := map[string][]byte{}
	f := e.openWrite("/large")
	for {
		p := pattern(50_000, byte(len(want["/large"])>>8))
		n, err := f.Write(p)
		want["/large"] = append(want["/large"], p[:n]...)
		if err != nil {
			require.ErrorIs(t, err, ErrNoSpace)
			break
		}
	}
	// The last cluster too, to the byte.
	rest := pattern(int(f.d.blob.Size())-len(want["/large"]), 1)
	_, err := f.Write(rest)
	require.NoError(t, err)
	want["/large"] = append(want["/large"], rest...)
	require.NoError(t, errors.Join(f.Sync(), f.Close()))
	require.Zero(t, e.Usage().FreeBytes)
	for i := 0; ; i++ {
		f, err := e.Create(fmt.Sprint("/small", i))
		if err != nil {
			require.ErrorIs(t, err, ErrNoSpace)
			return want
		}
		require.NoError(t, f.Close())
		want[fmt.Sprint("/small", i)] = []byte{}
	}
}

// requireFull demands that nothing more can be had, that saying so changes nothing, and that all is there.
func requireFull(t *testing.T, e *env, want map[string][]byte) {
	t.Helper()
	_, err := e.Create("/more")
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorIs(t, e.Mkdir("/more"), ErrNoSpace)
	f := e.openWrite("/large")
	size := int64(len(want["/large"]))
	n, err := f.WriteAt([]byte("x"), size)
	require.Zero(t, n)
	require.ErrorIs(t, err, ErrNoSpace)
	_, err = f.WriteAt([]byte("x"), size+100_000)
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorIs(t, f.Truncate(size+1), ErrNoSpace)
	require.ErrorIs(t, f.Preallocate(size, 1), ErrNoSpace)
	require.NoError(t, errors.Join(f.Sync(), f.Close()))
	require.NoError(t, e.Store().Err(), "lack of space is no failure")
	names := e.names("/")
	require.Len(t, names, len(want))
	for _, name := range names {
		require.Empty(t, diff(want["/"+name], e.read("/"+name)), name)
	}
}

// workOnFull does what takes no space, often enough for the journal to go round several times.
func workOnFull(t *testing.T, e *env, want map[string][]byte) {
	t.Helper()
	large := slices.Clone(want["/large"])
	for i := range 120 {
		f := e.openWrite("/large")
		p := pattern(700, byte(i))
		e.writeAt(f, p, int64(i)*4000)
		copy(large[i*4000:], p)
		require.NoError(t, errors.Join(f.Sync(), f.Close()))
		require.NoError(t, e.Rename("/small1", "/small0"))
		require.NoError(t, e.FS.Sync())
		f, err := e.Create("/small1") // there is one page again
		require.NoError(t, err)
		require.NoError(t, errors.Join(f.Sync(), f.Close()))
		require.NoError(t, e.Remove("/small2"))
		f, err = e.OpenReadWrite("/small2", true)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	want["/large"] = large
}
