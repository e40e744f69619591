package faultbdev_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/bdev/faultbdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
)

// TestConformance runs without a fault, on a device with a queue and on one that completes at once.
func TestConformance(t *testing.T) {
	run := func(t *testing.T, lower func() (bdev.Backend, error)) {
		bdevtest.Run(t, func(t *testing.T) *bdev.Device {
			b, err := lower()
			require.NoError(t, err)
			dev, err := bdev.New("fault", faultbdev.New(b), bdev.Options{})
			require.NoError(t, err)
			return dev
		})
	}
	t.Run("crash", func(t *testing.T) {
		run(t, func() (bdev.Backend, error) {
			return crashbdev.New(crashbdev.Options{Size: bdevtest.MinSize, QueueDepth: 3}), nil
		})
	})
	t.Run("malloc", func(t *testing.T) {
		run(t, func() (bdev.Backend, error) {
			return mallocbdev.New(mallocbdev.Config{Size: bdevtest.MinSize})
		})
	})
}
