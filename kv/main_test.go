package kv

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// TestMain is also the program that the kill tests run and kill, and the one whose device dies.
func TestMain(m *testing.M) {
	if os.Getenv(fatalEnv) != "" {
		os.Exit(fatalChild())
	}
	if device := os.Getenv(killDeviceEnv); device != "" {
		os.Exit(killChild(device))
	}
	if serve := os.Getenv(serveEnv); serve != "" {
		os.Exit(serveChild(serve))
	}
	if os.Getenv(abandonEnv) != "" { // an engine is left behind
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// image is the name of an image file that does not exist yet.
func image(t testing.TB) string { return filepath.Join(t.TempDir(), "store.img") + "?size=256MiB" }

// openTest opens a store and closes it at the end of the test.
func openTest(t testing.TB, device string, o *Options) *DB {
	t.Helper()
	db, err := Open(device, o)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := db.Close(); err != ErrClosed {
			require.NoError(t, err)
		}
	})
	return db
}

// newTest is an empty store in RAM.
func newTest(t testing.TB) *DB {
	t.Helper()
	return openTest(t, "malloc:256MiB", &Options{CreateIfMissing: true})
}

// requireClean is a full check of a device that nobody has open, as it is. It closes the device.
func requireClean(t testing.TB, dev *bdev.Device) {
	t.Helper()
	report, err := blobfs.Check(dev, blobstore.CheckOptions{})
	require.NoError(t, err)
	require.True(t, report.OK(), "%v", report)
	require.NoError(t, dev.Close())
}

// requireCleanImage is requireClean of a device by name. Checking writes nothing.
func requireCleanImage(t testing.TB, device string) {
	t.Helper()
	dev, err := open.Device(device, open.Options{ReadOnly: true})
	require.NoError(t, err)
	requireClean(t, dev)
}

// openRaw mounts the file system of a closed store.
func openRaw(t testing.TB, device string) (*blobfs.FS, func()) {
	t.Helper()
	dev, err := open.Device(device, open.Options{})
	require.NoError(t, err)
	fs, err := blobfs.Open(dev, blobfs.Options{})
	require.NoError(t, err)
	return fs, func() {
		require.NoError(t, fs.Close())
		require.NoError(t, dev.Close())
	}
}

// rounds is how often a test does what it does: less often in short runs and under the race detector, which makes each
// round many times as long.
func rounds(full, reduced int) int {
	if testing.Short() || raceEnabled {
		return reduced
	}
	return full
}

func key(i int) []byte { return fmt.Appendf(nil, "key%08d", i) }

// value is recognisable and compresses well.
func value(i, size int) []byte {
	v := make([]byte, size)
	copy(v, fmt.Sprintf("value%d.", i))
	return v
}

// requireValue checks one key.
func requireValue(t testing.TB, r Reader, k, want []byte) {
	t.Helper()
	got, err := r.Get(k)
	require.NoError(t, err, "%s", k)
	require.Equal(t, want, got, "%s", k)
}
