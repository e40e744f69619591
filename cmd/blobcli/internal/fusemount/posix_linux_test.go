package fusemount

import (
	"os"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// requireFUSE skips a test where nothing can be mounted and says why.
func requireFUSE(t *testing.T) {
	t.Helper()
	if err := Precheck(t.TempDir()); err != nil {
		t.Skip(err)
	}
}

// mountRAM mounts an empty file system in memory. After the test it is unmounted, closed and checked.
func mountRAM(t *testing.T) string {
	t.Helper()
	requireFUSE(t)
	b, err := mallocbdev.New(mallocbdev.Config{Size: 64 << 20})
	require.NoError(t, err)
	dev, err := bdev.New("ram", b, bdev.Options{})
	require.NoError(t, err)
	require.NoError(t, blobfs.Format(dev, blobfs.FormatOptions{FormatOptions: blobstore.FormatOptions{ClusterSize: 64 << 10}}))
	fs, err := blobfs.Open(dev, blobfs.Options{})
	require.NoError(t, err)
	dir := t.TempDir()
	m, err := New(fs, dir, Options{Source: "ram", Writable: true, Umask: 0o022, Log: func(s string) { t.Log(s) }})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.Unmount())
		require.NoError(t, fs.Close())
		report, err := blobfs.Check(dev, blobstore.CheckOptions{})
		require.NoError(t, err)
		for _, f := range report.Findings {
			require.LessOrEqual(t, f.Severity, blobstore.SeverityInfo, "%v: %v", f.Blob, f.Err)
		}
		require.NoError(t, dev.Close())
	})
	return dir
}

// posixSkips are the cases of posixtest that BlobFS does not pass, with the reason. docs/mount.md lists them too.
var posixSkips = map[string]string{
	"SymlinkReadlink":     noSymlinks,
	"SetattrSymlink":      noSymlinks,
	"OpenSymlinkRace":     noSymlinks,
	"XAttr":               noXattrs,
	"XAttrLarge":          noXattrs,
	"Tmpfile":             "BlobFS has no files that never had a name: O_TMPFILE is ENOTSUP",
	"FcntlFlockLocksFile": "wants two fcntl locks of one process to exclude each other, which POSIX rules out; the kernel keeps the locks here",
}

const (
	noSymlinks = "BlobFS has no symbolic links: symlink(2) is ENOTSUP"
	noXattrs   = "the attributes of a blob are BlobFS's own: xattr(7) calls are ENOTSUP"
)

// TestPosix runs go-fuse's own suite on a BlobFS in memory.
func TestPosix(t *testing.T) {
	docs, err := os.ReadFile("../../../../docs/mount.md")
	require.NoError(t, err)
	for name := range posixSkips {
		require.Contains(t, posixtest.All, name)
		require.Contains(t, string(docs), name)
	}
	for name, test := range posixtest.All {
		t.Run(name, func(t *testing.T) {
			if why := posixSkips[name]; why != "" {
				t.Skip(why)
			}
			test(t, mountRAM(t))
		})
	}
}
