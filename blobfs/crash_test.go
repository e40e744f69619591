package blobfs

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobstore"
)

// Package crashsim cuts the power everywhere; here is what takes a look inside to set up.

// TestTailSlackIsZero: bytes that a crash has left on the device behind the end of a file are zeros once its last block is
// written again, whatever else the file does then.
func TestTailSlackIsZero(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	e.create("/f", pattern(5_000, 1))
	f := e.openWrite("/f")
	block := make([]byte, blobstore.BlockSize)
	require.NoError(t, f.d.blob.Read(block, blobstore.BlockSize))
	copy(block[904:], "never synced")
	require.NoError(t, f.d.blob.Write(block, blobstore.BlockSize))
	e.writeAt(f, []byte("x"), 4_999)
	require.NoError(t, f.Sync())
	require.NoError(t, f.d.blob.Read(block, blobstore.BlockSize))
	require.Equal(t, make([]byte, len(block)-904), block[904:])
	require.NoError(t, f.Close())
}

// TestVouchersKept: what is done to a file after a sync must not make recovery doubt the length that was acknowledged.
// All writes land before the power is cut: what could go wrong is only the checksum.
func TestVouchersKept(t *testing.T) {
	for name, work := range map[string]func(e *env, f *File){
		"overwrite": func(e *env, f *File) { e.writeAt(f, []byte("new"), 950) },
		"reuse": func(e *env, f *File) {
			require.NoError(e.t, f.Close())
			f, err := e.Reuse("/f", "/g")
			require.NoError(e.t, err)
			_, err = f.Write([]byte("new")) // the rest of the block becomes zeros
			require.NoError(e.t, err)
			require.NoError(e.t, f.Close())
		},
		"reuse unsynced": func(e *env, f *File) {
			e.writeAt(f, pattern(1_000, 2), 1_000)
			require.NoError(e.t, f.Close())
			f, err := e.Reuse("/f", "/g")
			require.NoError(e.t, err)
			e.writeAt(f, []byte("more"), 2_000)
			require.NoError(e.t, f.Sync())
			require.NoError(e.t, f.Close())
		},
		"truncate": func(e *env, f *File) {
			require.NoError(e.t, f.Truncate(950))
			e.writeAt(f, []byte("new"), 10)
		},
	} {
		t.Run(name, func(t *testing.T) {
			size := sizeAfterCut(t, work)
			want, special := map[string][]int64{"reuse unsynced": {2_004}, "truncate": {950, 1_000}}[name]
			if !special {
				want = []int64{1_000}
			}
			require.Contains(t, want, size)
		})
	}
}

// sizeAfterCut makes a file of 1000 synced bytes, the last 100 of which are vouched for, works on it and returns its
// size after the power was cut.
func sizeAfterCut(t *testing.T, work func(e *env, f *File)) int64 {
	disk := crashbdev.New(crashbdev.Options{Size: 24 << 20})
	dev, err := disk.Open("crash")
	require.NoError(t, err)
	require.NoError(t, Format(dev, smallStore))
	e := &env{t: t, dev: dev}
	e.mount()
	f := e.openWrite("/f")
	e.writeAt(f, pattern(900, 1), 0)
	require.NoError(t, f.Sync())
	e.writeAt(f, []byte("x"), 0) // confirms what the first sync vouches for
	e.writeAt(f, pattern(100, 1), 900)
	require.NoError(t, f.Sync())
	work(e, f)
	require.NoError(t, e.writeOut("/f"))

	after, err := disk.Cut(crashbdev.KeepAll, 1).Open("after")
	require.NoError(t, err)
	left := &env{t: t, dev: after}
	left.mount()
	entries, err := left.List("/")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	left.finish()
	e.finish()
	require.NoError(t, errors.Join(after.Close(), dev.Close()))
	return entries[0].Info.Size
}

// writeOut brings a file that is still open to the device, without a flush.
func (e *env) writeOut(name string) error {
	e.ns.RLock()
	n, err := e.lookup(name)
	e.ns.RUnlock()
	if err != nil || n.data == nil {
		return nil
	}
	n.data.wmu.Lock()
	defer n.data.wmu.Unlock()
	return n.data.writeOutAll()
}
