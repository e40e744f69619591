//go:build linux

package guest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
	bdevopen "github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/kv"
)

// TestDeviceConformance is the suite of block devices, on the drive: the policies that poll and the one that sleeps until an
// interrupt comes.
func TestDeviceConformance(t *testing.T) {
	for _, policy := range []bdev.Policy{bdev.PolicyAdaptive, bdev.PolicySleep} {
		t.Run(policy.String(), func(t *testing.T) {
			name := fmt.Sprintf("nvme:%s?policy=%v", controller(t), policy)
			bdevtest.Run(t, func(t *testing.T) *bdev.Device {
				d, err := bdevopen.Device(name, bdevopen.Options{})
				require.NoError(t, err)
				return d
			})
		})
	}
}

// TestStoreOnDrive fills a store, closes it, opens it again and reads everything back.
func TestStoreOnDrive(t *testing.T) {
	const n = 5000
	name := "nvme:" + controller(t)
	d, err := bdevopen.Device(name, bdevopen.Options{})
	require.NoError(t, err)
	p := d.Properties()
	t.Logf("%+v", p)
	require.True(t, p.Durable)
	h, err := d.Health()
	require.NoError(t, err)
	t.Logf("%+v", h)
	require.NoError(t, d.WriteZeroes(0, d.Size())) // what other tests left is not to be formatted
	require.NoError(t, d.Close())

	db, err := kv.Open(name, &kv.Options{CreateIfMissing: true})
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, db.Set(fmt.Appendf(nil, "key%06d", i), fmt.Appendf(nil, "value of %d", i), kv.NoSync))
	}
	require.NoError(t, db.Set([]byte("last"), []byte("durable")))
	_, err = kv.Open(name, nil)
	require.ErrorIs(t, err, kv.ErrInUse)
	require.NoError(t, db.Close())

	db, err = kv.Open(name, nil)
	require.NoError(t, err)
	for i := range n {
		v, err := db.Get(fmt.Appendf(nil, "key%06d", i))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("value of %d", i), string(v))
	}
	require.NoError(t, db.Close())
}
