package blobstore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestVouchedBytesAreBounded: what recovery may have to verify has a bound. A voucher beyond it is refused and changes
// nothing, until the confirmation of earlier ones is durable.
func TestVouchedBytesAreBounded(t *testing.T) {
	s := formatAndOpen(t, mallocDevice(t, 64<<20), FormatOptions{})
	s.toVerify.limit = 10_000
	tx := s.Begin()
	id := tx.Create()
	tx.Resize(id, 1)
	require.NoError(t, s.Sync(commit(t, tx)))
	b, err := s.Blob(id)
	require.NoError(t, err)
	data := fill(8192, 1)
	var io IO
	vouched := func(n int64) (LSN, error) {
		b.StartWrite(&io, data, 0)
		require.NoError(t, io.Wait())
		tx := s.Begin()
		tx.SetXattrVouched(id, "len", lengthValue(n), Vouch{0, n, checksumOf(data[:n])})
		return tx.Commit()
	}
	first, err := vouched(6000)
	require.NoError(t, err)
	last := s.LastLSN()
	_, err = vouched(6001)
	require.ErrorIs(t, err, ErrTooMuchVouched)
	require.Equal(t, last, s.LastLSN())
	got, _ := b.Xattr("len")
	require.Equal(t, lengthValue(6000), got)
	second, err := vouched(4000)
	require.NoError(t, err, "as many as are left")

	require.NoError(t, s.SyncVouched(first))
	require.NoError(t, s.SyncVouched(second))
	_, err = vouched(6001)
	require.ErrorIs(t, err, ErrTooMuchVouched, "confirmed, but recovery would not know")
	tx = s.Begin()
	tx.SetXattr(id, "other", []byte("x"))
	require.NoError(t, s.Sync(commit(t, tx)), "its frame carries the confirmation")
	third, err := vouched(6001)
	require.NoError(t, err)
	require.NoError(t, s.SyncVouched(third))

	require.NoError(t, s.checkpoint())
	require.Zero(t, s.toVerify.sum, "a checkpoint leaves nothing to verify")
	require.NoError(t, s.Close())
}
