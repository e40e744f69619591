package blobfs

import (
	"errors"
	iofs "io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamespaceSurvivesRemount(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	require.NoError(t, e.MkdirAll("/a/b/c"))
	e.create("a/one", []byte("1"))
	e.create("/a/b/two", []byte("22"))
	require.NoError(t, e.Link("/a/one", "/a/b/c/uno"))
	require.NoError(t, e.Rename("/a/b", "/beta"))
	require.NoError(t, e.Rename("/beta/two", "/a/one")) // over an existing file that has another name
	e.remount()
	require.Equal(t, []string{"a", "beta"}, e.names("/"))
	require.Equal(t, []string{"one"}, e.names("/a"))
	require.Equal(t, "22", string(e.read("/a/one")))
	require.Equal(t, "1", string(e.read("/beta/c/uno")))
	info, err := e.Stat("beta/c/../c/uno")
	require.NoError(t, err)
	require.Equal(t, int64(1), info.Size)
	require.Equal(t, 1, info.Links)
	require.False(t, info.Dir)
	info, err = e.Stat("/")
	require.NoError(t, err)
	require.True(t, info.Dir)
	require.Equal(t, RootID, info.ID)
}

func TestNamespaceErrors(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	require.NoError(t, e.MkdirAll("/d/sub"))
	e.create("/f", []byte("x"))
	e.create("/g", []byte("y"))
	_, openMissing := e.Open("/no")
	_, openUnderFile := e.Open("/f/x")
	_, createUnderMissing := e.Create("/no/x")
	_, createOverDir := e.Create("/d")
	_, createLong := e.Create("/" + strings.Repeat("n", MaxName+1))
	_, createNUL := e.Create("/a\x00b")
	_, createRoot := e.Create("/")
	_, rwMissing := e.OpenReadWrite("/no", false)
	_, rwDir := e.OpenReadWrite("/d", true)
	_, reuseDir := e.Reuse("/d", "/r")
	_, reuseMissing := e.Reuse("/no", "/r")
	_, listFile := e.List("/f")
	_, statMissing := e.Stat("/d/no")
	for _, c := range []struct {
		what      string
		err       error
		want, std error
	}{
		{"open missing", openMissing, ErrNotExist, iofs.ErrNotExist},
		{"open under a file", openUnderFile, ErrNotDir, syscall.ENOTDIR},
		{"create under missing", createUnderMissing, ErrNotExist, iofs.ErrNotExist},
		{"create over directory", createOverDir, ErrIsDir, syscall.EISDIR},
		{"create long name", createLong, ErrInvalid, iofs.ErrInvalid},
		{"create NUL", createNUL, ErrInvalid, iofs.ErrInvalid},
		{"create root", createRoot, ErrInvalid, iofs.ErrInvalid},
		{"read-write missing", rwMissing, ErrNotExist, iofs.ErrNotExist},
		{"read-write directory", rwDir, ErrIsDir, syscall.EISDIR},
		{"reuse directory", reuseDir, ErrIsDir, syscall.EISDIR},
		{"reuse missing", reuseMissing, ErrNotExist, iofs.ErrNotExist},
		{"list file", listFile, ErrNotDir, syscall.ENOTDIR},
		{"stat missing", statMissing, ErrNotExist, iofs.ErrNotExist},
		{"link over existing", e.Link("/f", "/g"), ErrExist, iofs.ErrExist},
		{"link directory", e.Link("/d", "/h"), ErrIsDir, syscall.EISDIR},
		{"mkdir existing", e.Mkdir("/d"), ErrExist, iofs.ErrExist},
		{"mkdir root", e.Mkdir("/"), ErrExist, iofs.ErrExist},
		{"mkdirall over file", e.MkdirAll("/f/x"), ErrNotDir, syscall.ENOTDIR},
		{"remove non-empty", e.Remove("/d"), ErrNotEmpty, syscall.ENOTEMPTY},
		{"remove missing", e.Remove("/no"), ErrNotExist, iofs.ErrNotExist},
		{"remove root", e.Remove("/"), ErrInvalid, iofs.ErrInvalid},
		{"rename into itself", e.Rename("/d", "/d/sub/x"), ErrInvalid, iofs.ErrInvalid},
		{"rename file over directory", e.Rename("/f", "/d"), ErrIsDir, syscall.EISDIR},
		{"rename directory over file", e.Rename("/d", "/f"), ErrNotDir, syscall.ENOTDIR},
		{"rename missing", e.Rename("/no", "/x"), ErrNotExist, iofs.ErrNotExist},
	} {
		require.ErrorIs(t, c.err, c.want, c.what)
		require.ErrorIs(t, c.err, c.std, c.what)
		var path *iofs.PathError
		require.True(t, errors.As(c.err, &path), c.what)
	}
	require.NoError(t, e.RemoveAll("/no/thing"))
	require.NoError(t, e.Rename("/f", "/f"))
	require.Equal(t, []string{"d", "f", "g"}, e.names("/"))
}

func TestRenameOverEmptyDirectory(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	require.NoError(t, e.MkdirAll("/a/x"))
	require.NoError(t, e.MkdirAll("/b"))
	require.NoError(t, e.MkdirAll("/c/y"))
	require.NoError(t, e.Rename("/a", "/b"))
	require.ErrorIs(t, e.Rename("/b", "/c"), ErrNotEmpty)
	e.remount()
	require.Equal(t, []string{"b", "c"}, e.names("/"))
	require.Equal(t, []string{"x"}, e.names("/b"))
}

func TestRemoveAll(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	free := e.Usage().FreeBytes
	require.NoError(t, e.MkdirAll("/a/b"))
	e.create("/a/b/f", pattern(100_000, 1))
	e.create("/a/g", pattern(100_000, 2))
	require.Less(t, e.Usage().FreeBytes, free)
	require.NoError(t, e.RemoveAll("/a"))
	require.NoError(t, e.Sync())
	require.Equal(t, free, e.Usage().FreeBytes)
	require.Empty(t, e.names("/"))
}

// TestUnlinkedButOpen: a file without names lives until its last handle is closed, and no longer.
func TestUnlinkedButOpen(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	content := pattern(300_000, 3)
	e.create("/f", content)
	for _, how := range []string{"remove", "create", "rename"} {
		free := e.Usage().FreeBytes
		f, err := e.OpenReadWrite("/f", false)
		require.NoError(t, err)
		switch how {
		case "remove":
			require.NoError(t, e.Remove("/f"))
		case "create":
			g, err := e.Create("/f")
			require.NoError(t, err)
			require.NoError(t, g.Close())
		case "rename":
			e.create("/g", nil)
			require.NoError(t, e.Rename("/g", "/f"))
		}
		got := make([]byte, len(content))
		_, err = f.ReadAt(got, 0)
		require.NoError(t, err)
		require.Empty(t, diff(content, got), how)
		_, err = f.WriteAt([]byte("more"), 5)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		info, err := f.Stat()
		require.NoError(t, err)
		require.Zero(t, info.Links)
		require.NoError(t, f.Close())
		require.NoError(t, e.Sync())
		require.Greater(t, e.Usage().FreeBytes, free, how)
		e.create("/f", content)
	}
}

// TestOrphansGoAtMount: a store that was closed, or lost power, while an unlinked file was open frees it.
func TestOrphansGoAtMount(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	free := e.Usage().FreeBytes
	e.create("/f", pattern(300_000, 3))
	_, err := e.Open("/f")
	require.NoError(t, err)
	require.NoError(t, e.Remove("/f"))
	e.remount()
	require.NoError(t, e.Sync())
	require.Equal(t, free, e.Usage().FreeBytes)
}

func TestReadOnlyMount(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	e.create("/f", []byte("hello"))
	e.o.ReadOnly = true
	e.remount()
	require.Equal(t, "hello", string(e.read("/f")))
	_, createErr := e.Create("/g")
	_, rwErr := e.OpenReadWrite("/f", false)
	for _, err := range []error{createErr, rwErr, e.Remove("/f"), e.Rename("/f", "/g"), e.Mkdir("/d"), e.Link("/f", "/g")} {
		require.ErrorIs(t, err, ErrReadOnly)
		require.ErrorIs(t, err, syscall.EROFS)
	}
	e.o.ReadOnly = false
	e.remount()
	require.Equal(t, []string{"f"}, e.names("/"))
}

func TestClosed(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	e.create("/f", []byte("hello"))
	f, err := e.OpenReadWrite("/f", false)
	require.NoError(t, err)
	f.SetSequential()
	_, err = f.Read(make([]byte, 2))
	require.NoError(t, err)
	require.NoError(t, e.FS.Close())
	_, err = f.Write([]byte("x"))
	require.ErrorIs(t, err, ErrClosed)
	_, err = f.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Close(), ErrClosed)
	_, err = e.Stat("/f")
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, e.FS.Close(), ErrClosed)
}

func TestNotOurs(t *testing.T) {
	dev := ramDevice(t, 16<<20)
	_, err := Open(dev, Options{})
	require.Error(t, err)
	require.ErrorContains(t, err, "ram")
}

// TestConcurrentNames works on one directory from many goroutines.
func TestConcurrentNames(t *testing.T) {
	e := newEnv(t, 32<<20, Options{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			mine := "/" + string(rune('a'+g))
			for range 40 {
				f, err := e.Create(mine)
				if err == nil {
					_, err = f.Write([]byte(mine))
				}
				if err == nil {
					err = errors.Join(f.Sync(), f.Close(), e.Rename(mine, "/shared"), e.Sync())
				}
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = e.List("/")
			}
		}()
	}
	wg.Wait()
	e.remount()
	require.Equal(t, []string{"shared"}, e.names("/"))
	require.Len(t, e.read("/shared"), 2)
}
