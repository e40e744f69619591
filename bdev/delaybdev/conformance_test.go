package delaybdev_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/bdev/delaybdev"
)

func TestConformance(t *testing.T) {
	bdevtest.Run(t, func(t *testing.T) *bdev.Device {
		slow := delaybdev.New(crashbdev.New(crashbdev.Options{Size: bdevtest.MinSize}), 1)
		slow.SetAll(delaybdev.Latency{Typical: 10 * time.Microsecond, Tail: time.Millisecond})
		dev, err := bdev.New("slow", slow, bdev.Options{})
		require.NoError(t, err)
		return dev
	})
}
