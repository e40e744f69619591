package open

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
)

// deviceVariable names a device for TestConformanceOfDevice, which overwrites it.
const deviceVariable = "BDEV_DEVICE"

// TestConformanceOfDevice holds a device that the caller names, a drive or what another program serves, to what the store
// relies on.
func TestConformanceOfDevice(t *testing.T) {
	name := os.Getenv(deviceVariable)
	if name == "" {
		t.Skip(deviceVariable + " names no device to overwrite")
	}
	bdevtest.Run(t, func(t *testing.T) *bdev.Device {
		d, err := Device(name, Options{})
		require.NoError(t, err)
		return d
	})
}
