package kv

import (
	"bytes"
	"errors"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/blobfs"
)

// damagedStore makes a store with tables and a log, closes it, and returns its image and the offset of the metadata
// page of every file and directory.
func damagedStore(t *testing.T) (device string, pages map[string]int64) {
	t.Helper()
	device = image(t)
	db := openTest(t, device, &Options{CreateIfMissing: true})
	for i := range 100 {
		require.NoError(t, db.Set(key(i), value(i, 1000), NoSync))
	}
	require.NoError(t, db.Flush())
	require.NoError(t, db.Set(key(100), value(100, 1000)))
	pages = map[string]int64{}
	pageOf := func(name string) {
		info, err := db.fs.Stat(name)
		require.NoError(t, err)
		const pageSize = 4096
		pages[name] = (db.fs.Store().Info().MDStart + int64(uint32(info.ID))) * pageSize
	}
	files, err := db.fs.List(storeDir)
	require.NoError(t, err)
	for _, f := range files {
		pageOf(path.Join(storeDir, f.Name))
	}
	pageOf(storeDir)
	pageOf("/")
	require.NoError(t, db.Close())
	// Files of the open store may be gone now.
	db = openTest(t, device, &Options{ReadOnly: true})
	for name := range pages {
		if _, err := db.fs.Stat(name); errors.Is(err, blobfs.ErrNotExist) {
			delete(pages, name)
		}
	}
	require.NoError(t, db.Close())
	return device, pages
}

// flipImage changes a few bytes of an image; the second time it puts them back.
func flipImage(t *testing.T, device string, off int64, xor byte) {
	t.Helper()
	name, _, _ := strings.Cut(device, "?")
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 4)
	_, err = f.ReadAt(b, off)
	require.NoError(t, err)
	for i := range b {
		b[i] ^= xor
	}
	_, err = f.WriteAt(b, off)
	require.NoError(t, err)
}

// TestDamagedMetadata damages the page of each file of a store in turn. No open for writing gets past it, whatever the
// options, and with the page put back everything is still there.
func TestDamagedMetadata(t *testing.T) {
	device, pages := damagedStore(t)
	kinds := map[string]bool{}
	for name, off := range pages {
		flipImage(t, device, off+60, 0xa5)
		for _, o := range []*Options{nil, {CreateIfMissing: true}, {CreateIfMissing: true, ErrorIfExists: true}} {
			db, err := Open(device, o)
			require.ErrorIs(t, err, ErrCorrupt, "%s damaged, %+v", name, o)
			require.NotErrorIs(t, err, ErrNotStore)
			require.Nil(t, db)
			if name != "/" {
				require.ErrorContains(t, err, "blobcli check", name)
			}
		}
		if db, err := Open(device, &Options{ReadOnly: true}); err != nil {
			require.ErrorIs(t, err, ErrCorrupt, "%s damaged, read-only", name)
		} else {
			require.NoError(t, db.Close())
		}
		flipImage(t, device, off+60, 0xa5)
		kinds[strings.TrimLeft(path.Ext(name), ".0123456789")] = true
		requireHundred(t, device)
	}
	require.True(t, kinds["sst"] && kinds["log"], "%v", pages)
}

// requireHundred opens a store of damagedStore, looking only, and reads it all.
func requireHundred(t *testing.T, device string) {
	t.Helper()
	db := openTest(t, device, &Options{ReadOnly: true})
	for i := range 101 {
		requireValue(t, db, key(i), value(i, 1000))
	}
	require.NoError(t, db.Close())
}

// TestMissingFiles removes engine files as a repair tool may: what is left is damaged, not a place for a new store.
func TestMissingFiles(t *testing.T) {
	for _, gone := range []string{"marker.manifest", "MANIFEST", "marker.format", ".sst"} {
		t.Run(gone, func(t *testing.T) {
			device, _ := damagedStore(t)
			removeEngineFiles(t, device, gone)
			for _, o := range []*Options{nil, {CreateIfMissing: true}, {ReadOnly: true}} {
				if gone == "marker.format" && o != nil && o.ReadOnly {
					continue // the engine reads without it
				}
				_, err := Open(device, o)
				require.ErrorIs(t, err, ErrCorrupt, "%+v", o)
				require.NotErrorIs(t, err, ErrNotStore)
			}
		})
	}
}

func removeEngineFiles(t *testing.T, device, part string) {
	t.Helper()
	db, done := openRaw(t, device)
	defer done()
	files, err := db.List(storeDir)
	require.NoError(t, err)
	removed := 0
	for _, f := range files {
		if strings.Contains(f.Name, part) && !(part == "MANIFEST" && strings.HasPrefix(f.Name, "marker")) {
			require.NoError(t, db.Remove(path.Join(storeDir, f.Name)))
			removed++
		}
	}
	require.Positive(t, removed)
}

// TestDamagedTable reads a table with a damaged block: whoever needs it gets ErrCorrupt, everybody else gets on.
func TestDamagedTable(t *testing.T) {
	device := image(t)
	db := openTest(t, device, &Options{CreateIfMissing: true, Compression: NoCompression})
	v := strings.Repeat("findme.", 100)
	for i := range 200 {
		require.NoError(t, db.Set(key(i), []byte(v), NoSync))
	}
	require.NoError(t, db.Flush())
	require.NoError(t, db.Close())
	damageData(t, device, key(0))

	db = openTest(t, device, nil)
	_, err := db.Get(key(0))
	requirePlaced(t, err, device)
	it, err := db.NewIterator(nil)
	require.NoError(t, err)
	for range it.All() {
	}
	requirePlaced(t, it.Close(), device)
	m, err := db.Metrics()
	require.NoError(t, err)
	require.Positive(t, m.CorruptReads)
	require.Contains(t, m.String(), "Reads that met damage: ")
	require.Regexp(t, `Space: \S+MiB of 256\.0MiB used, `, m.String())

	requireValue(t, db, key(199), []byte(v))
	require.NoError(t, db.Set(key(1000), nil))
	require.NoError(t, db.Flush())
	requireValue(t, db, key(1000), []byte{})
}

// requirePlaced checks that the error of a damaged table names device, file and a place on the device where that file is.
func requirePlaced(t *testing.T, err error, device string) {
	t.Helper()
	require.ErrorIs(t, err, ErrCorrupt)
	name, _, _ := strings.Cut(device, "?")
	m := regexp.MustCompile(regexp.QuoteMeta(name) + `.*: /db/\d+\.sst, byte (\d+) of the device: pebble: .*checksum`).FindStringSubmatch(err.Error())
	require.NotNil(t, m, "%v", err)
	require.NotContains(t, err.Error(), "\n")
	off, err := strconv.ParseInt(m[1], 10, 64)
	require.NoError(t, err)
	image, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Contains(t, string(image[off:off+8<<10]), "damage")
}

// damageData changes what follows each place in the tables of a closed store where the bytes are found.
func damageData(t *testing.T, device string, find []byte) {
	t.Helper()
	fs, done := openRaw(t, device)
	defer done()
	files, err := fs.List(storeDir)
	require.NoError(t, err)
	damaged := 0
	for _, in := range files {
		if path.Ext(in.Name) != ".sst" {
			continue
		}
		f, err := fs.OpenReadWrite(path.Join(storeDir, in.Name), false)
		require.NoError(t, err)
		b := make([]byte, in.Info.Size)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		if i := bytes.Index(b, find); i >= 0 {
			_, err = f.WriteAt([]byte("damage"), int64(i+len(find)+20))
			require.NoError(t, err)
			require.NoError(t, f.Sync())
			damaged++
		}
		require.NoError(t, f.Close())
	}
	require.Positive(t, damaged)
}
