package blobstore

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTxIsOverAfterCommit: what comes later is refused and changes nothing, although the memory is another
// transaction's by then.
func TestTxIsOverAfterCommit(t *testing.T) {
	s := formatAndOpen(t, mallocDevice(t, 64<<20), FormatOptions{})
	first := s.Begin()
	id := first.Create()
	commit(t, first)
	next := s.Begin()
	next.SetXattr(id, "a", []byte("1"))
	first.Delete(id)
	_, err := first.Commit()
	require.ErrorIs(t, err, ErrInvalid)
	first.Abort()
	commit(t, next)
	blob, err := s.Blob(id)
	require.NoError(t, err)
	value, ok := blob.Xattr("a")
	require.True(t, ok)
	require.Equal(t, "1", string(value))
	closeAndCheck(t, s)
}

// TestTxMemoryIsNotShared: transactions that are built and committed in turn, of sizes that pools keep and do not keep,
// leave what each of them asked for.
func TestTxMemoryIsNotShared(t *testing.T) {
	s := formatAndOpen(t, mallocDevice(t, 64<<20), FormatOptions{})
	setup := s.Begin()
	ids := make([]BlobID, 8)
	for i := range ids {
		ids[i] = setup.Create()
	}
	commit(t, setup)
	value := func(i, round int) []byte { return bytes.Repeat([]byte{byte(i), byte(round)}, 20+i*100) }
	for round := range 10 {
		txs := make([]*Tx, len(ids))
		for i, id := range ids {
			txs[i] = s.Begin()
			for k := range 1 + i*10 {
				txs[i].SetXattr(id, "x", value(i, k))
			}
			txs[i].SetXattr(id, "x", value(i, round))
			txs[i].Resize(id, int64(round+i))
		}
		for i := range txs {
			commit(t, txs[(i+round)%len(txs)])
		}
		for i, id := range ids {
			blob, err := s.Blob(id)
			require.NoError(t, err)
			got, _ := blob.Xattr("x")
			require.Equal(t, value(i, round), got)
			require.Equal(t, int64(round+i), blob.Clusters())
		}
	}
	closeAndCheck(t, s)
}
