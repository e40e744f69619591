package mallocbdev

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/bdevtest"
)

func TestLostMemory(t *testing.T) {
	d := open(t, Config{Size: 1 << 20}, bdev.Options{})
	bdevtest.LostMemory(t, d)
	require.NoError(t, d.Close())
}
