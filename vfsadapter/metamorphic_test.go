package vfsadapter

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/metamorphic"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// Pebble's metamorphic test: one random sequence of operations, run under different random options, must give the same
// history. A background error of the engine ends the test process with a message.

// metamorphicOptions is the number of option sets on our file system, each compared with Pebble's MemFS.
const metamorphicOptions = 2

// What is run, where the environment says so: one seed (see announce), a number of random ones, or as many from one on. The
// operations and options follow from the seed and the number of operations, which is not the same under the race detector.
const (
	seedEnv  = "BLOBKV_SEED"
	opsEnv   = "BLOBKV_OPS"
	seedsEnv = "BLOBKV_SEEDS"
)

// seeds returns random seeds, or those of the environment.
func seeds(t *testing.T) []uint64 {
	first, n := uint64(envInt(t, seedEnv, 0)), envInt(t, seedsEnv, 0)
	switch {
	case first == 0:
		first, n = uint64(time.Now().UnixNano()), cmp.Or(n, metamorphicSeeds)
	case n == 0:
		n = 1
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = first + uint64(i)
	}
	return out
}

// eachSeed runs a test of ops operations with every seed, some of them at the same time. A long run says how far it is.
func eachSeed(t *testing.T, ops int, run func(t *testing.T, seed uint64, ops int)) {
	ops = envInt(t, opsEnv, ops)
	list, start := seeds(t), time.Now()
	var done atomic.Int64
	for _, seed := range list {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			name, _, _ := strings.Cut(t.Name(), "/")
			announce(name, seed, ops)
			run(t, seed, ops)
			if n := done.Add(1); len(list) > metamorphicSeeds {
				fmt.Fprintf(os.Stderr, "%s: %d of %d seeds passed after %v\n", name, n, len(list), time.Since(start).Round(time.Second))
			}
		})
	}
}

func envInt(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err, name)
	return n
}

// announce says how to run a seed again. It goes to stderr at once: where the engine ends the process, nothing that
// the test has logged would be seen. "go test" shows it for packages that fail.
func announce(test string, seed uint64, ops int) {
	fmt.Fprintf(os.Stderr, "%s=%d %s=%d go test -count=1 -run '^%s$' ./vfsadapter\n", seedEnv, seed, opsEnv, ops, test)
}

// TestMetamorphic runs the operations on Pebble's MemFS and on ours.
func TestMetamorphic(t *testing.T) {
	kf := metamorphic.TestkeysKeyFormat
	eachSeed(t, metamorphicOps, func(t *testing.T, seed uint64, n int) {
		rng := rand.New(rand.NewPCG(seed, 0))
		cfg := metamorphic.DefaultOpConfig().WithOpWeight(metamorphic.OpDBRestart, 0)
		ops := metamorphic.GenerateOps(rng, uint64(n), kf, cfg)
		dir := t.TempDir()
		paths := []string{runMetamorphic(t, ops, metamorphic.RandomOptions(rng, kf, metamorphic.RandomOptionsCfg{}), dir, 0)}
		for i := range metamorphicOptions {
			to := metamorphic.RandomOptions(rng, kf, metamorphic.RandomOptionsCfg{})
			useFS(to.Opts, newFS(t, "malloc:4GiB", Options{}))
			paths = append(paths, runMetamorphic(t, ops, to, dir, i+1))
		}
		requireSameHistories(t, paths)
	})
}

// useFS makes the engine keep everything on fs.
func useFS(o *pebble.Options, fs vfs.FS) {
	o.FS = fs
	if o.WALFailover != nil {
		o.WALFailover.Secondary.FS = fs
	}
}

// runMetamorphic runs the operations and returns the path of their history.
func runMetamorphic(t *testing.T, ops metamorphic.Ops, to *metamorphic.TestOptions, dir string, n int) string {
	t.Helper()
	path := filepath.Join(dir, fmt.Sprintf("history%d", n))
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	m, err := metamorphic.New(ops, to, "data", f)
	require.NoError(t, err)
	require.NoError(t, metamorphic.Execute(m))
	return path
}

func requireSameHistories(t *testing.T, paths []string) {
	t.Helper()
	i, diff := metamorphic.CompareHistories(t, paths)
	require.Empty(t, diff, "options %d differ", i)
}

// TestMetamorphicCrash runs the operations with many crashes: each one cuts the power of the device, loses what was not
// flushed, mounts what is left and goes on. Every acknowledged write must be there. Two option sets must agree.
func TestMetamorphicCrash(t *testing.T) {
	kf := metamorphic.TestkeysKeyFormat
	eachSeed(t, crashOps, func(t *testing.T, seed uint64, n int) {
		rng := rand.New(rand.NewPCG(seed, 1))
		ops := opsWithRestarts(rng, n, kf)
		dir := t.TempDir()
		var paths []string
		for i := range 2 {
			to := metamorphic.RandomOptions(rng, kf, metamorphic.RandomOptionsCfg{
				AlwaysStrictFS: true, NoRemoteStorage: true,
			})
			mounts := &mountOption{}
			to.CustomOpts = append(to.CustomOpts, mounts)
			paths = append(paths, runMetamorphic(t, ops, to, dir, i))
			require.NoError(t, mounts.Close(nil))
			t.Logf("options %d: %d mounts", i, mounts.count)
			require.Equal(t, 1+restarts(ops), mounts.count, "a crash is missing")
		}
		requireSameHistories(t, paths)
	})
}

// opsWithRestarts returns the first n random operations of rng among which the database is restarted. Of a few hundred
// that are drawn, one set in fifty is without.
func opsWithRestarts(rng *rand.Rand, n int, kf metamorphic.KeyFormat) metamorphic.Ops {
	cfg := metamorphic.DefaultOpConfig().WithOpWeight(metamorphic.OpDBRestart, 15)
	for {
		if ops := metamorphic.GenerateOps(rng, uint64(n), kf, cfg); restarts(ops) > 0 {
			return ops
		}
	}
}

// restarts counts the operations that restart the database. Pebble does not export their type.
func restarts(ops metamorphic.Ops) int {
	n := 0
	for _, op := range ops {
		if strings.HasSuffix(fmt.Sprintf("%T", op), ".dbRestartOp") {
			n++
		}
	}
	return n
}

// mountFormat has metadata pages for the thousands of files that some of Pebble's random options make.
var mountFormat = blobfs.FormatOptions{FormatOptions: blobstore.FormatOptions{MDPages: 1 << 14}}

// mountOption puts our file system between the engine and the crashable file system that the test gives it: the
// device's image lives in the latter, so that what the test crashes is the device.
type mountOption struct {
	dev   *bdev.Device
	fs    *blobfs.FS
	count int
}

var _ metamorphic.CustomOption = (*mountOption)(nil)

func (*mountOption) Name() string  { return "TestOptions.blobfs" }
func (*mountOption) Value() string { return "true" }

// Open mounts the device in o.FS, which it replaces.
func (m *mountOption) Open(o *pebble.Options) error {
	base := vfs.Root(o.FS)
	dev, err := openVFSDevice(base, "/device", 4<<30)
	if err != nil {
		return err
	}
	if m.count == 0 {
		if err := blobfs.Format(dev, mountFormat); err != nil {
			return err
		}
	}
	if m.fs, err = blobfs.Open(dev, blobfs.Options{}); err != nil {
		return fmt.Errorf("mount %d: %w", m.count, err)
	}
	m.dev = dev
	m.count++
	useFS(o, New(m.fs, Options{Base: base}))
	return nil
}

// Close unmounts.
func (m *mountOption) Close(*pebble.Options) error {
	if m.fs == nil {
		return nil
	}
	err := errors.Join(m.fs.Close(), m.dev.Close())
	m.fs, m.dev = nil, nil
	return err
}
