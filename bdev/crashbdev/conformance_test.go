package crashbdev_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
	"github.com/blobkv/blobkv/bdev/crashbdev"
)

func TestConformance(t *testing.T) {
	for name, o := range map[string]crashbdev.Options{
		"queued":   {Size: bdevtest.MinSize},
		"shuffled": {Size: bdevtest.MinSize, BlockSize: 4096, NoFUA: true, CompletionSeed: 1, QueueDepth: 4, MaxTransfer: 64 << 10, Sparse: true},
		"blocking": {Size: bdevtest.MinSize, SyncOps: bdev.Ops(bdev.OpFlush, bdev.OpUnmap, bdev.OpWriteZeroes)},
	} {
		t.Run(name, func(t *testing.T) {
			bdevtest.Run(t, func(t *testing.T) *bdev.Device {
				dev, err := crashbdev.New(o).Open("crash")
				require.NoError(t, err)
				return dev
			})
		})
	}
}
