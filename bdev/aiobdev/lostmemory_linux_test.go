package aiobdev

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
)

func TestLostMemory(t *testing.T) {
	bdevtest.LostMemory(t, openDevice(t, Options{BlockSize: 4096}, bdev.Options{}))
	b := conformanceImage(t, Options{})
	require.NoError(t, setDirect(b.fd, false))
	bdevtest.LostMemory(t, newDevice(t, b, bdev.Options{}))
}
