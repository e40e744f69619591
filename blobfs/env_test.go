package blobfs

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
	"github.com/blobkv/blobkv/blobstore"
)

// env is a file system on a RAM device, checked when the test ends.
type env struct {
	t   *testing.T
	dev *bdev.Device
	o   Options
	*FS
}

// smallStore has clusters of 64 KiB, so that tests cross their boundaries.
var smallStore = FormatOptions{FormatOptions: blobstore.FormatOptions{ClusterSize: 64 << 10}}

func ramDevice(t testing.TB, size int64) *bdev.Device {
	t.Helper()
	b, err := mallocbdev.New(mallocbdev.Config{Size: size})
	require.NoError(t, err)
	dev, err := bdev.New("ram", b, bdev.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return dev
}

func newEnv(t *testing.T, size int64, o Options) *env {
	t.Helper()
	e := &env{t: t, dev: ramDevice(t, size), o: o}
	require.NoError(t, Format(e.dev, smallStore))
	e.mount()
	t.Cleanup(e.finish)
	return e
}

func (e *env) mount() {
	e.t.Helper()
	var err error
	e.FS, err = Open(e.dev, e.o)
	require.NoError(e.t, err)
}

func (e *env) remount() {
	e.t.Helper()
	require.NoError(e.t, e.FS.Close())
	e.mount()
}

// finish closes the file system and checks it from the outside.
func (e *env) finish() {
	if !e.FS.closed.Load() {
		require.NoError(e.t, e.FS.Close())
	}
	requireSound(e.t, e.dev)
}

// requireSound demands that a closed file system has no findings.
func requireSound(t *testing.T, dev *bdev.Device) {
	t.Helper()
	report, err := Check(dev, blobstore.CheckOptions{})
	require.NoError(t, err)
	for _, f := range report.Findings {
		if f.Severity > blobstore.SeverityInfo {
			t.Errorf("check: %v: blob %v: %v", f.Severity, f.Blob, f.Err)
		}
	}
}

func (e *env) create(name string, content []byte) {
	e.t.Helper()
	f, err := e.Create(name)
	require.NoError(e.t, err)
	n, err := f.Write(content)
	require.NoError(e.t, err)
	require.Equal(e.t, len(content), n)
	require.NoError(e.t, f.Sync())
	require.NoError(e.t, f.Close())
}

func (e *env) read(name string) []byte {
	e.t.Helper()
	f, err := e.Open(name)
	require.NoError(e.t, err)
	defer func() { require.NoError(e.t, f.Close()) }()
	b, err := io.ReadAll(f)
	require.NoError(e.t, err)
	return b
}

func (e *env) names(dir string) []string {
	e.t.Helper()
	entries, err := e.List(dir)
	require.NoError(e.t, err)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name)
	}
	return names
}

// pattern is content that tells where it belongs.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)*7 ^ byte(i>>16)*31 ^ seed
	}
	return b
}

// seedOf returns the seed of a random test: BLOBFS_SEED, or a new one. It is printed.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("BLOBFS_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 0, 64)
		require.NoError(t, err)
	}
	t.Logf("seed: BLOBFS_SEED=%d", seed)
	return seed
}

func rngOf(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// diff says where two contents differ first.
func diff(want, got []byte) string {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return fmt.Sprintf("byte %d (block %d + %d) is %#x, want %#x; %d bytes, want %d",
				i, i/4096, i%4096, got[i], want[i], len(got), len(want))
		}
	}
	if len(want) != len(got) {
		return fmt.Sprintf("%d bytes, want %d", len(got), len(want))
	}
	return ""
}
