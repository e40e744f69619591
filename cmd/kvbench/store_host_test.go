package main

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/kv"
)

// countingFS counts the bytes written to files.
type countingFS struct {
	vfs.FS
	written atomic.Int64
}

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (f countingFile) Write(p []byte) (int, error) {
	f.fs.written.Add(int64(len(p)))
	return f.File.Write(p)
}

func (c *countingFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.Create(name, category)
	return countingFile{f, c}, err
}

func (c *countingFS) ReuseForWrite(old, new string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.ReuseForWrite(old, new, category)
	return countingFile{f, c}, err
}

// The bytes that the engine says it has written are those that its file system has seen, also when L0 compacts into
// itself, but for MANIFEST and OPTIONS.
func TestEngineWrittenIsWhatTheFileSystemSaw(t *testing.T) {
	const memTable = 256 << 10
	fs := &countingFS{FS: vfs.NewMem()}
	o := kv.PebbleOptions(&kv.Options{MemTableSize: memTable, CacheSize: 1 << 20})
	o.FS = fs
	db, err := pebble.Open("db", o)
	require.NoError(t, err)
	s := &hostStore{db, &engineLogger{}}
	rng := rand.New(rand.NewPCG(1, 1))
	values := newValuePool(rng, 100, 0.5)
	key := make([]byte, 16)
	before := fs.written.Load()
	for range 100_000 {
		putKey(key, rng.Int64N(100_000))
		require.NoError(t, s.set(key, values.take(100), false))
	}
	require.NoError(t, s.flush())
	require.NoError(t, settle(s, new(atomic.Bool)))
	saw := float64(fs.written.Load() - before)
	require.InEpsilon(t, saw, float64(s.metrics().written), 0.01)
	require.Greater(t, saw, 2*100*100_000.0)
	require.NoError(t, s.close())
}
