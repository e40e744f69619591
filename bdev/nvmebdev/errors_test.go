package nvmebdev

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/vfio"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

// TestTranslate: errors of the driver and of the transports are the block layer's, and stay what they were.
func TestTranslate(t *testing.T) {
	other := errors.New("something else")
	for _, c := range []struct{ from, request, open error }{ // open nil: as it is
		{nvme.ErrMiscompare, bdev.ErrMiscompare, bdev.ErrMiscompare},
		{nvme.ErrNoNamespace, bdev.ErrGone, bdev.ErrNotExist},
		{nvme.ErrGone, bdev.ErrGone, nil},
		{nvme.ErrClosed, bdev.ErrClosed, bdev.ErrClosed},
		{nvme.ErrOutOfRange, bdev.ErrOutOfRange, bdev.ErrOutOfRange},
		{nvme.ErrWriteProtected, bdev.ErrReadOnly, bdev.ErrReadOnly},
		{nvme.ErrNoSpace, bdev.ErrNoSpace, bdev.ErrNoSpace},
		{nvme.ErrNoQueues, bdev.ErrInUse, bdev.ErrInUse},
		{vfio.ErrInUse, bdev.ErrInUse, bdev.ErrInUse},
		{vfiouser.ErrInUse, bdev.ErrInUse, bdev.ErrInUse},
		{vfio.ErrNotFound, bdev.ErrNotExist, bdev.ErrNotExist},
		{fs.ErrNotExist, bdev.ErrNotExist, bdev.ErrNotExist},
		{nvme.ErrUnsupported, bdev.ErrUnsupported, bdev.ErrUnsupported},
		{nvme.ErrInvalid, bdev.ErrInvalid, bdev.ErrInvalid},
		{nvme.ErrTimeout, bdev.ErrIO, nil},
		{other, bdev.ErrIO, nil},
	} {
		from := fmt.Errorf("wrapped: %w", c.from)
		got := translate(from)
		require.ErrorIs(t, got, c.request)
		require.ErrorIs(t, got, c.from)
		got = translateOpen(from)
		require.ErrorIs(t, got, c.from)
		if c.open == nil {
			require.Equal(t, from, got)
		} else {
			require.ErrorIs(t, got, c.open)
			require.Equal(t, got, translateOpen(got), "once is enough")
		}
	}
	require.NoError(t, translate(nil))
	require.NoError(t, translateOpen(nil))
}
