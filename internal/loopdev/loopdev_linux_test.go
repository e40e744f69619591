package loopdev

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/internal/procstat"
)

// newDevice makes a device or skips where there are none.
func newDevice(t *testing.T, folder string) *Device {
	t.Helper()
	d, err := New(context.Background(), folder, 32<<20)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	require.NoError(t, err)
	return d
}

// A device reads what was written to it, leaves no file behind, and is detached when it is closed.
func TestDevice(t *testing.T) {
	dir := t.TempDir()
	d := newDevice(t, dir)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "the file has no name")
	f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
	require.NoError(t, err)
	want := bytes.Repeat([]byte("x"), 4096)
	_, err = f.WriteAt(want, 1<<20)
	require.NoError(t, err)
	got := make([]byte, 4096)
	_, err = f.ReadAt(got, 1<<20)
	require.NoError(t, err)
	require.Equal(t, want, got)
	discard := [2]uint64{0, 1 << 20}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKDISCARD, uintptr(unsafe.Pointer(&discard)))
	require.Equal(t, unix.EOPNOTSUPP, errno, "holes in the file would be paid for later")
	require.NoError(t, f.Close())
	require.NoError(t, d.Close())
}

func TestExt4HasAJournalAndGoesAway(t *testing.T) {
	dir := t.TempDir()
	d := newDevice(t, dir)
	mount := filepath.Join(dir, "mnt")
	require.NoError(t, os.Mkdir(mount, 0o700))
	unmount, err := d.MountExt4(context.Background(), mount)
	if errors.Is(err, ErrUnavailable) {
		require.NoError(t, d.Close())
		t.Skip(err)
	}
	require.NoError(t, err)
	m, err := procstat.MountOf(mount)
	require.NoError(t, err)
	require.Equal(t, []string{mount, "ext4", d.Path, "journal"}, []string{m.Point, m.Type, m.Source, m.Journal})
	require.NoError(t, os.WriteFile(filepath.Join(mount, "f"), []byte("x"), 0o600))
	require.NoError(t, unmount())
	require.NoFileExists(t, filepath.Join(mount, "f"))
	require.NoError(t, d.Close())
}

func TestCancelledMakesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := New(ctx, dir, 32<<20)
	require.Error(t, err)
	if !errors.Is(err, ErrUnavailable) {
		require.ErrorIs(t, err, context.Canceled)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestMissingFolder(t *testing.T) {
	_, err := New(context.Background(), filepath.Join(t.TempDir(), "missing"), 1<<20)
	require.Error(t, err)
}
