package blobfs

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobstore"
)

const goldenDir = "../blobstore/testdata/golden"

// legacyImage is an image of SPDK's BlobFS and what SPDK read from it.
type legacyImage struct {
	File  string `json:"file"`
	Kind  string `json:"kind"`
	Files []struct {
		Name   string `json:"name"`
		Length int64  `json:"length"`
		Blob   string `json:"blob"`
		SHA256 string `json:"sha256"`
	} `json:"files"`
}

func legacyImages(t *testing.T) []legacyImage {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldenDir, "manifest.json"))
	require.NoError(t, err)
	var m struct {
		Images []legacyImage `json:"images"`
	}
	require.NoError(t, json.Unmarshal(b, &m))
	return m.Images
}

// goldenDevice is a RAM device with the contents of an image.
func goldenDevice(t *testing.T, file string) *bdev.Device {
	t.Helper()
	f, err := os.Open(filepath.Join(goldenDir, file))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	img, err := io.ReadAll(z)
	require.NoError(t, err)
	return imageDevice(t, img)
}

func imageDevice(t *testing.T, img []byte) *bdev.Device {
	t.Helper()
	m, err := crashbdev.LoadImage(bytes.NewReader(img), int64(len(img)))
	require.NoError(t, err)
	dev, err := crashbdev.FromImage(m, crashbdev.Options{BlockSize: 512}).Open("image")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return dev
}

func TestLegacyGolden(t *testing.T) {
	found := 0
	for _, img := range legacyImages(t) {
		if img.Kind != "blobfs" {
			continue
		}
		found++
		t.Run(img.File, func(t *testing.T) {
			store, err := blobstore.Open(goldenDevice(t, img.File), blobstore.OpenOptions{ReadOnly: true})
			require.NoError(t, err)
			defer store.Close()
			l, err := OpenLegacy(store)
			require.NoError(t, err)
			require.Empty(t, l.Problems())
			list := l.List()
			require.Len(t, list, len(img.Files))
			for i, want := range img.Files {
				require.Equal(t, want.Name, list[i].Name)
				require.Equal(t, want.Length, list[i].Size)
				require.Equal(t, want.Blob, list[i].Blob.String())
				requireLegacyContent(t, l, want.Name, want.SHA256)
			}
			_, err = l.Open("no such file")
			require.ErrorIs(t, err, ErrNotExist)
		})
	}
	require.Equal(t, 2, found)
}

func requireLegacyContent(t *testing.T, l *Legacy, name, sum string) {
	t.Helper()
	r, err := l.Open(name)
	require.NoError(t, err)
	b, err := io.ReadAll(r.Reader())
	require.NoError(t, err)
	got := sha256.Sum256(b)
	require.Equal(t, sum, hex.EncodeToString(got[:]), name)
	if len(b) < 10000 {
		require.NoError(t, iotest.TestReader(r.Reader(), b), name)
	}
}

func TestLegacyRefusesOtherStores(t *testing.T) {
	store, err := blobstore.Open(goldenDevice(t, "bs-basic.img.gz"), blobstore.OpenOptions{ReadOnly: true})
	require.NoError(t, err)
	defer store.Close()
	_, err = OpenLegacy(store)
	require.ErrorIs(t, err, ErrNotFS)
	require.ErrorContains(t, err, LegacyType)
}

// TestLegacyDamage gives blobs the attributes that a crash of SPDK's BlobFS leaves, and some it never would.
func TestLegacyDamage(t *testing.T) {
	dev := imageDevice(t, make([]byte, 16<<20))
	require.NoError(t, blobstore.Format(dev, blobstore.FormatOptions{ClusterSize: 64 << 10, Type: LegacyType}))
	store, err := blobstore.Open(dev, blobstore.OpenOptions{})
	require.NoError(t, err)
	defer store.Close()
	journal := len(store.IDs())
	le8 := func(n byte) []byte { return []byte{n, 0, 0, 0, 0, 0, 0, 0} }
	for _, x := range []map[string][]byte{
		{"name": []byte("good\x00"), "length": le8(5)},
		{"name": []byte("good\x00"), "length": le8(6)},
		{"name": []byte("nolen\x00")},
		{"length": le8(1)},
		{"name": []byte("huge\x00"), "length": {0, 0, 0, 0, 0, 0, 0, 0xff}},
		{"name": []byte("gone\x00"), "length": le8(1), "is_deleted": {1}},
		{},
	} {
		tx := store.Begin()
		id := tx.Create()
		tx.Resize(id, 1)
		for name, value := range x {
			tx.SetXattr(id, name, value)
		}
		_, err := tx.Commit()
		require.NoError(t, err)
	}
	l, err := OpenLegacy(store)
	require.NoError(t, err)
	sizes := make(map[string]int64)
	for _, f := range l.List() {
		sizes[f.Name] = f.Size
	}
	ids := store.IDs()
	twin := "good~" + ids[journal+1].String()
	require.Equal(t, map[string]int64{"good": 5, twin: 6, "nolen": 64 << 10, "huge": 64 << 10}, sizes)
	require.Len(t, l.Problems(), 5, "the journal is no file and no problem")
	for _, p := range l.Problems() {
		require.Error(t, p.Err)
	}
}
