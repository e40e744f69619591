package nvmebdev

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openSim(t testing.TB, c SimConfig, o bdev.Options) *bdev.Device {
	t.Helper()
	b, err := NewSim(c)
	require.NoError(t, err)
	d, err := bdev.New("nvme-sim:test", b, o)
	require.NoError(t, err)
	return d
}

func TestConformance(t *testing.T) {
	for name, c := range map[string]SimConfig{
		"512":     {BlockSize: 512},
		"4096":    {BlockSize: 4096},
		"polling": {Config: Config{Policy: bdev.PolicyPoll, Queues: 4}},
	} {
		c.Size = 16 << 20
		t.Run(name, func(t *testing.T) {
			bdevtest.Run(t, func(t *testing.T) *bdev.Device {
				return openSim(t, c, bdev.Options{Policy: c.Policy})
			})
		})
	}
}

// TestConformanceOfOddControllers makes splitting, full queues and protection information the rule.
func TestConformanceOfOddControllers(t *testing.T) {
	for name, c := range map[string]softctrl.Config{
		"small":   {MDTS: 1, Entries: 4, Namespaces: []softctrl.NamespaceConfig{{BlockSize: 512, Boundary: 24}}},
		"fused":   {AtomicBlocks: 8, WriteCache: true, SGL: true, Shadow: true, Namespaces: []softctrl.NamespaceConfig{{BlockSize: 512}}},
		"type 1":  {Namespaces: []softctrl.NamespaceConfig{{BlockSize: 512, MetaSize: 8, Protection: 1}}},
		"type 2":  {Namespaces: []softctrl.NamespaceConfig{{BlockSize: 512, MetaSize: 8, Protection: 2, First: true}}},
		"type 3":  {Namespaces: []softctrl.NamespaceConfig{{BlockSize: 4096, MetaSize: 8, Protection: 3, Extended: true}}},
		"vectors": {Vectors: 8, Namespaces: []softctrl.NamespaceConfig{{BlockSize: 4096}}},
	} {
		if testing.Short() && name != "small" && name != "fused" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			bdevtest.Run(t, func(t *testing.T) *bdev.Device {
				r := newRig(t, c, Config{Policy: bdev.PolicySleep})
				return r.d
			})
		})
	}
}

func TestNoAllocations(t *testing.T) {
	d := openSim(t, SimConfig{Size: 16 << 20}, bdev.Options{})
	t.Cleanup(func() { require.NoError(t, d.Close()) }) // also where it is skipped
	bdevtest.NoAllocations(t, d)
}

func TestSimRefused(t *testing.T) {
	for _, c := range []SimConfig{{}, {Size: -4096}, {Size: 1000}, {Size: 1 << 20, BlockSize: 1024}, {Size: 512}} {
		_, err := NewSim(c)
		require.ErrorIs(t, err, bdev.ErrInvalid, "%+v", c)
	}
}
