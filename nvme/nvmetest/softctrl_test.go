package nvmetest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/nvmetest"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

// soft is a software controller as the tests are told of it. It stays the same while they open and close it.
func soft(t *testing.T, c nvmetest.Controller) nvmetest.DriverEnv {
	t.Helper()
	cfg := softctrl.Config{Queues: c.Queues, MDTS: uint8(c.MDTS), WriteCache: !c.NoCache}
	for _, n := range c.Namespaces {
		ram, err := softctrl.NewRAM(int64(n.MiB)<<20*int64(n.LBA)/int64(n.LBA+n.MS)/int64(n.LBA)*int64(n.LBA), false)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, ram.Free()) })
		ns := softctrl.NamespaceConfig{Storage: ram, BlockSize: n.LBA, MetaSize: n.MS, Extended: n.Extended, Protection: uint8(n.PI), Detached: n.Detached}
		if n.Zoned {
			ns.ZoneBlocks = 1024
		}
		cfg.Namespaces = append(cfg.Namespaces, ns)
	}
	env := nvmetest.DriverEnv{Controller: c}
	env.Open = func(t *testing.T) nvme.Transport {
		tr, err := softctrl.NewTransport(cfg, softctrl.TransportOptions{})
		require.NoError(t, err)
		return tr
	}
	return env
}

var kinds = []nvmetest.Controller{
	{Queues: 2, MDTS: 7, Namespaces: []nvmetest.Namespace{{LBA: 512, MiB: 16}}},
	{Queues: 1, MDTS: 1, NoCache: true, Namespaces: []nvmetest.Namespace{{LBA: 4096, MiB: 16}}},
	{Queues: 64, MDTS: 5, Namespaces: []nvmetest.Namespace{{LBA: 512, MS: 8, PI: 1, MiB: 16}, {LBA: 4096, MS: 16, PI: 3, Extended: true, MiB: 16}}},
	{Queues: 4, MDTS: 3, Namespaces: []nvmetest.Namespace{{LBA: 512, MS: 8, PI: 3, Extended: true, MiB: 16}, {LBA: 4096, MS: 8, MiB: 16}, {LBA: 512, MiB: 8, Detached: true}}},
	{Queues: 2, MDTS: 7, Namespaces: []nvmetest.Namespace{{LBA: 4096, MiB: 16, Zoned: true}}},
}

func TestTransport(t *testing.T) { nvmetest.Transport(t, soft(t, kinds[0]).Env) }

func TestDriver(t *testing.T) {
	for _, k := range kinds {
		t.Run(fmt.Sprintf("%+v", k), func(t *testing.T) { nvmetest.Driver(t, soft(t, k)) })
	}
}
