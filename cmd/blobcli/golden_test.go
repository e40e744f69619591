package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// manifest is what SPDK's own tools and an independent decoder read in the golden images.
type manifest struct {
	Images []struct {
		File        string `json:"file"`
		SHA256      string `json:"sha256"`
		Kind        string `json:"kind"`
		ClusterSize int    `json:"cluster_size"`
		Super       struct {
			Type string `json:"bstype"`
		} `json:"superblock"`
		Blobs []struct {
			ID       string `json:"id"`
			Clusters int64  `json:"num_clusters"`
			Thin     bool   `json:"thin"`
			ReadOnly bool   `json:"read_only"`
			SHA256   string `json:"content_sha256"`
			Xattrs   map[string]struct {
				Length int `json:"len"`
			} `json:"xattrs"`
		} `json:"blobs"`
		Files []struct {
			Name   string `json:"name"`
			Length int64  `json:"length"`
			SHA256 string `json:"sha256"`
		} `json:"files"`
	} `json:"images"`
}

// TestGoldenImages reads every image that SPDK wrote: the whole blobs compare with the manifest, those that need thin
// provisioning or snapshots are listed and refused alone, and no command changes the image.
func TestGoldenImages(t *testing.T) {
	text, err := os.ReadFile("../../blobstore/testdata/golden/manifest.json")
	require.NoError(t, err)
	var m manifest
	require.NoError(t, json.Unmarshal(text, &m))
	require.NotEmpty(t, m.Images)
	for _, image := range m.Images {
		t.Run(image.File, func(t *testing.T) {
			path := golden(t, image.File)
			if image.Kind == "raw" || image.ClusterSize == 0 {
				require.Equal(t, exitNotStore, blobcli("", "-d", path, "info").code)
				return
			}
			var info struct {
				Type        string `json:"type"`
				ClusterSize int    `json:"cluster_size"`
			}
			okJSON(t, &info, "-d", path, "info")
			require.Equal(t, image.ClusterSize, info.ClusterSize)
			require.Equal(t, strings.TrimRight(image.Super.Type, "\x00"), info.Type)
			var listed []blobView
			okJSON(t, &listed, "-d", path, "blob", "list")
			byID := map[string]blobView{}
			for _, v := range listed {
				byID[v.ID] = v
			}
			if image.Kind != "bs-interrupted" {
				require.Len(t, listed, len(image.Blobs))
				for _, b := range image.Blobs {
					require.Contains(t, byID, b.ID)
					require.Equal(t, b.Clusters, byID[b.ID].Clusters)
					require.Len(t, byID[b.ID].Xattrs, len(b.Xattrs))
					require.Contains(t, ok(t, "-d", path, "blob", "show", b.ID), b.ID)
					r := blobcli("", "-d", path, "blob", "export", b.ID, "-")
					if byID[b.ID].Refused != "" {
						require.True(t, b.Thin || b.ReadOnly, "only thin blobs and snapshots may be refused: %s", byID[b.ID].Refused)
						require.Equal(t, exitRefused, r.code, r.stderr)
						continue
					}
					require.Equal(t, exitOK, r.code, r.stderr)
					require.Equal(t, b.SHA256, digest(r.stdout), "content of %s", b.ID)
				}
			}
			var files []fileEntry
			if image.Kind == "blobfs" {
				okJSON(t, &files, "-d", path, "ls")
				require.Len(t, files, len(image.Files))
			}
			for _, f := range image.Files {
				require.Equal(t, f.SHA256, digest(ok(t, "-d", path, "cat", f.Name)), f.Name)
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, image.SHA256, digest(string(after)), "reading changed the image")
		})
	}
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// TestLegacyDamage flips a byte of one file's name: the other files are listed and readable, the damage is named.
func TestLegacyDamage(t *testing.T) {
	path := golden(t, "blobfs-legacy.img.gz")
	before := strings.Fields(ok(t, "-d", path, "ls"))
	image, err := os.ReadFile(path)
	require.NoError(t, err)
	i := strings.Index(string(image), "CURRENT")
	require.Positive(t, i)
	image[i] ^= 1
	require.NoError(t, os.WriteFile(path, image, 0o600))

	r := blobcli("", "-d", path, "ls")
	require.Equal(t, exitFindings, r.code, r.stderr)
	require.Len(t, strings.Fields(r.stdout), len(before)-1)
	require.Contains(t, r.stderr, "crc")
	require.NotEmpty(t, ok(t, "-d", path, "cat", "000003.log"))
}
