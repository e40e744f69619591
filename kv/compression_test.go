package kv

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/vfsadapter"
)

// The byte behind a table block that says how it is compressed: the table format of LevelDB and its successors.
const (
	blockRaw    = 0
	blockSnappy = 1
	blockZstd   = 7
)

// TestCompression looks at the bytes of a table: whether each data block says what the options say, and whether an
// independent decoder finds the data in the snappy ones.
func TestCompression(t *testing.T) {
	for c, kind := range map[Compression]byte{Snappy: blockSnappy, NoCompression: blockRaw, Zstd: blockZstd} {
		t.Run(c.String(), func(t *testing.T) {
			db := openTest(t, "malloc:256MiB", &Options{CreateIfMissing: true, Compression: c})
			for i := range 2000 {
				require.NoError(t, db.Set(key(i), value(i, 200), NoSync))
			}
			require.NoError(t, db.Compact(t.Context(), nil, nil))
			blocks := tableBlocks(t, vfsadapter.New(db.fs, vfsadapter.Options{}))
			require.NotEmpty(t, blocks)
			var all []byte
			for _, b := range blocks {
				data, trailer := b[:len(b)-trailerSize], b[len(b)-trailerSize:]
				require.Equal(t, kind, trailer[0])
				if kind == blockSnappy {
					plain, err := snappy.Decode(nil, data)
					require.NoError(t, err)
					all = append(all, plain...)
				}
			}
			if kind == blockSnappy {
				require.Equal(t, 2000, bytes.Count(all, []byte("value")))
				require.Contains(t, string(all), "value1999.")
			}
		})
	}
}

const trailerSize = 5 // kind and checksum

// tableBlocks returns the data blocks of every table with their trailers.
func tableBlocks(t *testing.T, fs vfs.FS) [][]byte {
	t.Helper()
	names, err := fs.List(storeDir)
	require.NoError(t, err)
	var out [][]byte
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			out = append(out, blocksOf(t, fs, storeDir+"/"+name)...)
		}
	}
	return out
}

func blocksOf(t *testing.T, fs vfs.FS, path string) [][]byte {
	t.Helper()
	f, err := fs.Open(path)
	require.NoError(t, err)
	raw, err := io.ReadAll(f)
	require.NoError(t, err)
	var readable objstorage.Readable
	readable, err = objstorageprovider.NewFileReadable(f, fs, objstorageprovider.NewReadaheadConfig(), path)
	require.NoError(t, err)
	r, err := sstable.NewReader(context.Background(), readable, sstable.ReaderOptions{})
	require.NoError(t, err)
	defer r.Close()
	layout, err := r.Layout()
	require.NoError(t, err)
	var out [][]byte
	for _, h := range layout.Data {
		out = append(out, raw[h.Offset:h.Offset+h.Length+trailerSize])
	}
	return out
}
