package kv

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// smallHost is a directory on a file system of its own.
func smallHost(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("needs to mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// TestHostTooSmall makes a store on a file system that has no room for its reserve: Open says so and leaves nothing. A
// store of a size that fits is made.
func TestHostTooSmall(t *testing.T) {
	dir := smallHost(t, "48m")
	image := filepath.Join(dir, "store.img")
	_, err := Open(filepath.Join(smallHost(t, "8m"), "store.img"), &Options{CreateIfMissing: true})
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, "?size=", "there is no room for the metadata")
	_, err = Open(image, &Options{CreateIfMissing: true})
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, "?size=")
	require.ErrorContains(t, err, "the file system that holds the image")
	require.NotContains(t, err.Error(), "-1", "a negative number of bytes")
	require.NoFileExists(t, image)

	db := openTest(t, image+"?size=32MiB", &Options{CreateIfMissing: true})
	require.NoError(t, db.Set(key(1), value(1, 100)))
	require.NoError(t, db.Close())
}

// TestHostFullAtOpen fills the host of a store that was not closed: it is not opened for writing, everything can be read, and
// with room on the host it opens.
func TestHostFullAtOpen(t *testing.T) {
	crashed := crashedImage(t, 100, 1)
	content, err := os.ReadFile(crashed)
	require.NoError(t, err)
	dir := smallHost(t, "160m")
	image, ballast := filepath.Join(dir, "store.img"), filepath.Join(dir, "ballast")
	writeSparse(t, image, content)
	require.NoError(t, os.WriteFile(ballast, nil, 0o600))
	f, err := os.OpenFile(ballast, os.O_WRONLY, 0)
	require.NoError(t, err)
	for b := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(b)
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	in, err := f.Stat()
	require.NoError(t, err)
	require.NoError(t, f.Truncate(in.Size()-1<<20)) // enough for the file system to be mounted
	require.NoError(t, f.Close())

	_, err = Open("file:"+image, nil)
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, "must become tables")
	db := openTest(t, "file:"+image, &Options{ReadOnly: true})
	requireKeys(t, db, 100)
	require.NoError(t, db.Close())
	require.NoError(t, os.Remove(ballast))
	db = openTest(t, "file:"+image, nil)
	requireKeys(t, db, 100)
	require.NoError(t, db.Set(key(100), nil))
	require.NoError(t, db.Close())
}

// writeSparse writes a file without the blocks that are zeros.
func writeSparse(t *testing.T, name string, content []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(int64(len(content))))
	const block = 4096
	zeros := make([]byte, block)
	for at := 0; at < len(content); at += block {
		if b := content[at:min(at+block, len(content))]; !bytes.Equal(b, zeros[:len(b)]) {
			_, err := f.WriteAt(b, int64(at))
			require.NoError(t, err)
		}
	}
	require.NoError(t, f.Close())
}

// TestHostRunsFull keeps a sparse image that is far larger than the file system it is on. The host's lack of space is
// ErrNoSpace like any other: the process lives, the data is readable, and deleting heals.
func TestHostRunsFull(t *testing.T) {
	dir := smallHost(t, "160m")
	device := filepath.Join(dir, "store.img") + "?size=4GiB"
	db := openTest(t, device, &Options{CreateIfMissing: true})
	n := fill(t, db, 0)
	t.Logf("%d keys of 8000 bytes", n)
	require.Greater(t, n, 4000)
	requireReadable(t, db, n)
	require.NoError(t, db.Close())

	db = openTest(t, device, nil)
	requireReadable(t, db, n)
	require.NoError(t, db.DeleteRange(key(0), key(n)))
	require.NoError(t, db.Compact(t.Context(), nil, nil))
	waitForSpace(t, db)
	require.Greater(t, fill(t, db, 0), n/4)
	in, err := os.Stat(filepath.Join(dir, "store.img"))
	require.NoError(t, err)
	require.EqualValues(t, 0o600, in.Mode().Perm())
	require.NoError(t, db.Close())
}
