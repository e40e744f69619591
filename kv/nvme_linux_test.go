package kv

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/nvmebdev"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

// TestNVMeSim is a store behind the NVMe driver and a software controller: filled, compacted and read back.
func TestNVMeSim(t *testing.T) {
	db := openTest(t, "nvme-sim:512MiB", &Options{CreateIfMissing: true})
	n := rounds(50_000, 5_000)
	fillAndCheck(t, db, n)
	require.NoError(t, db.Compact(t.Context(), nil, nil))
	requireValues(t, db, n)
	require.NoError(t, db.Close())
}

// TestNoController checks that what Open says of a controller that is not there speaks of no image.
func TestNoController(t *testing.T) {
	_, err := Open("nvme:vfio-user:"+filepath.Join(t.TempDir(), "none"), &Options{CreateIfMissing: true})
	require.ErrorIs(t, err, ErrNotStore)
	require.NotContains(t, err.Error(), "image")
}

func fillAndCheck(t *testing.T, db *DB, n int) {
	for i := range n {
		o := []WriteOption{NoSync}
		if i%1000 == 0 {
			o = nil
		}
		require.NoError(t, db.Set(key(i), value(i, 300), o...))
	}
	requireValues(t, db, n)
}

func requireValues(t *testing.T, db *DB, n int) {
	t.Helper()
	for i := range n {
		v, err := db.Get(key(i))
		require.NoError(t, err)
		require.Equal(t, value(i, 300), v)
	}
}

// TestNVMeOverSocket is a store on a controller that another party serves: it outlives the store's closing, is checked, and
// opened again.
func TestNVMeOverSocket(t *testing.T) {
	ram, err := softctrl.NewRAM(256<<20, false)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "ctrl")
	s, err := vfiouser.Listen(dir, vfiouser.Soft(softctrl.Config{
		WriteCache: true, Namespaces: []softctrl.NamespaceConfig{{Storage: ram, BlockSize: 4096}},
	}), vfiouser.ServerOptions{Log: func(string) {}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	device := "nvme:vfio-user:" + dir + "?ns=1&queues=4"

	n := rounds(20_000, 2_000)
	db := openTest(t, device, &Options{CreateIfMissing: true})
	fillAndCheck(t, db, n)
	require.NoError(t, db.Close())
	requireCleanImage(t, device)
	db = openTest(t, device, nil)
	requireValues(t, db, n)
	require.NoError(t, db.Close())
	_, err = Open("nvme:vfio-user:"+dir+"?ns=2", &Options{CreateIfMissing: true})
	require.ErrorIs(t, err, ErrNotStore)
	require.ErrorContains(t, err, "usable: 1")

	cancel()
	require.NoError(t, <-served)
	require.NoError(t, s.Close())
	require.NoError(t, ram.Free())
}

// TestNVMePowerFails cuts the power of a controller with a volatile cache while the store writes: what was synced is there
// afterwards, and the store is sound.
func TestNVMePowerFails(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	ram, err := softctrl.NewRAM(64<<20, true)
	require.NoError(t, err)
	total := 0
	for cut := range rounds(6, 2) {
		dev, soft := openSoft(t, ram)
		db, err := openOn(dev, (&Options{CreateIfMissing: true}).withDefaults())
		require.NoError(t, err, "after %d cuts", cut)
		requireValues(t, db, total)
		for range 20 + rng.IntN(100) {
			require.NoError(t, db.Set(key(total), value(total, 300)))
			require.NoError(t, db.Set(fmt.Appendf(nil, "later%d", total), value(total, 300), NoSync))
			total++
		}
		soft.PowerFail(rng)
		_ = db.Close() // it tells that the controller is gone, or has nothing left to write

		dev, _ = openSoft(t, ram)
		requireClean(t, dev)
	}
	require.NoError(t, ram.Free())
}

func openSoft(t *testing.T, ram *softctrl.RAM) (*bdev.Device, *softctrl.Controller) {
	t.Helper()
	tr, err := softctrl.NewTransport(softctrl.Config{
		WriteCache: true, Namespaces: []softctrl.NamespaceConfig{{Storage: ram, BlockSize: 512}},
	}, softctrl.TransportOptions{})
	require.NoError(t, err)
	b, err := nvmebdev.New(tr, nvmebdev.Config{})
	require.NoError(t, err)
	dev, err := bdev.New("nvme:test", b, bdev.Options{})
	require.NoError(t, err)
	return dev, tr.Controller()
}
