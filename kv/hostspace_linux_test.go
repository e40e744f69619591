package kv

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestHostRunsFull keeps a sparse image that is far larger than the file system it is on. The host's lack of space is
// ErrNoSpace like any other: the process lives, the data is readable, and deleting heals.
func TestHostRunsFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=160m"); err != nil {
		t.Skipf("needs to mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })

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
