//go:build linux

package guest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
	bdevopen "github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
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

// wipe zeroes a drive: what other tests left is not to be formatted.
func wipe(t *testing.T, name string) {
	t.Helper()
	d, err := bdevopen.Device(name, bdevopen.Options{})
	require.NoError(t, err)
	require.NoError(t, d.WriteZeroes(0, d.Size()))
	require.NoError(t, d.Close())
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
	require.NoError(t, d.Close())
	wipe(t, name)

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

// TestStoreKill kills a process in the middle of its writes, several times. The next one opens the store at once, finds what
// had been durable, and the metadata is whole.
func TestStoreKill(t *testing.T) {
	name := "nvme:" + controller(t)
	wipe(t, name)
	for durable, round := 0, 1; round <= 3; round++ {
		c, lines := child(t, "TestStoreKillChild", func(c *exec.Cmd) {
			c.Env = append(c.Env, fmt.Sprintf("FIRST=%d", durable))
		})
		until := durable + 100
		for lines.Scan() {
			n, isCount := strings.CutPrefix(lines.Text(), "durable ")
			if !isCount {
				continue
			}
			var err error
			durable, err = strconv.Atoi(n)
			require.NoError(t, err)
			if durable == until {
				require.NoError(t, c.Process.Kill())
			}
		}
		require.Error(t, c.Wait())
		require.GreaterOrEqual(t, durable, until, "the child ended by itself")
		checkKilled(t, name, durable)
	}
}

// TestStoreKillChild writes until it is killed: entries that are durable, which it counts, between others that are not.
func TestStoreKillChild(t *testing.T) {
	isChild(t)
	first, err := strconv.Atoi(os.Getenv("FIRST"))
	require.NoError(t, err)
	db, err := kv.Open("nvme:"+controller(t), &kv.Options{CreateIfMissing: true, MemTableSize: 1 << 20})
	require.NoError(t, err)
	for i := first; ; i++ {
		for k := range 20 {
			require.NoError(t, db.Set(fmt.Appendf(nil, "lazy%d-%d", i, k), make([]byte, 2000), kv.NoSync))
		}
		require.NoError(t, db.Set(killedKey(i), killedValue(i)))
		fmt.Printf("durable %d\n", i+1)
	}
}

func killedKey(i int) []byte   { return fmt.Appendf(nil, "key%06d", i) }
func killedValue(i int) []byte { return bytes.Repeat(killedKey(i), 30) }

// checkKilled looks at the store that a killed process left.
func checkKilled(t *testing.T, name string, durable int) {
	t.Helper()
	db, err := kv.Open(name, nil)
	require.NoError(t, err)
	for i := range durable {
		v, err := db.Get(killedKey(i))
		require.NoError(t, err, "entry %d of %d", i, durable)
		require.Equal(t, killedValue(i), v)
	}
	require.NoError(t, db.Close())
	d, err := bdevopen.Device(name, bdevopen.Options{ReadOnly: true})
	require.NoError(t, err)
	report, err := blobfs.Check(d, blobstore.CheckOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Findings)
	require.NoError(t, d.Close())
}
