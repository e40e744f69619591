package kv

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUnusableDevices checks what Open says about names and sizes that cannot be, and that it leaves no image behind.
func TestUnusableDevices(t *testing.T) {
	dir := t.TempDir()
	create := &Options{CreateIfMissing: true}
	_, err := Open("nosuch:x", create)
	require.ErrorIs(t, err, ErrDevice)

	small := filepath.Join(dir, "small.img")
	_, err = Open("file:"+small+"?size=2MiB", create)
	require.ErrorIs(t, err, ErrDevice)
	require.ErrorContains(t, err, "at least")
	require.NoFileExists(t, small)

	require.NoError(t, os.WriteFile(small, make([]byte, 2<<20), 0o600))
	_, err = Open("file:"+small, create)
	require.ErrorIs(t, err, ErrDevice)
	require.FileExists(t, small, "not made by Open")

	_, err = Open("file:"+filepath.Join(dir, "nodir", "x.img"), create)
	require.ErrorIs(t, err, ErrNotStore)
	require.ErrorContains(t, err, "folder")
	require.NotContains(t, err.Error(), "CreateIfMissing")

	db := openTest(t, "malloc:16MiB", create)
	require.NoError(t, db.Set(key(1), nil))
}

// TestClosedParts checks what batches and iterators say after a Close.
func TestClosedParts(t *testing.T) {
	db := newTest(t)
	it, err := db.NewIterator(nil)
	require.NoError(t, err)
	require.NoError(t, it.Close())
	require.False(t, it.First())
	require.ErrorIs(t, it.Error(), ErrClosed)
	require.NoError(t, it.Close())

	b := db.NewBatch()
	require.NoError(t, db.Close())
	require.ErrorIs(t, b.Set(key(1), nil), ErrClosed)
	require.ErrorIs(t, b.Delete(key(1)), ErrClosed)
	require.NoError(t, b.Close())
}
