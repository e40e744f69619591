package blobfs

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/blobstore"
)

// TestGoldenBytes pins the format: these bytes are on devices.
func TestGoldenBytes(t *testing.T) {
	super := superValue{version: 1, invalid: 2, dataRO: 3, mdRO: 0x0405}
	node := nodeValue{kind: kindDir, created: 0x0102030405060708}
	length := lengthValue{length: 0x1122334455, changed: 7}
	for _, c := range []struct{ name, want, got string }{
		{"super", "0100000000000000" + "0200000000000000" + "0300000000000000" + "0504000000000000", hex.EncodeToString(super.marshal())},
		{"node", "0102000000000000" + "0807060504030201", hex.EncodeToString(node.marshal())},
		{"length", "5544332211000000" + "0700000000000000", hex.EncodeToString(length.marshal())},
		{"link", "01000000", hex.EncodeToString(linkValue())},
		{"link key", "blobfs.link/0000000100000001/000012.sst", linkKey(RootID, "000012.sst")},
	} {
		require.Equal(t, c.want, c.got, c.name)
	}
}

func TestValuesRoundTrip(t *testing.T) {
	super := superValue{version: 1, invalid: 1 << 63, dataRO: 5, mdRO: 6}
	var gotSuper superValue
	require.NoError(t, gotSuper.unmarshal(super.marshal()))
	require.Equal(t, super, gotSuper)

	node := nodeValue{kind: kindFile, created: -5}
	var gotNode nodeValue
	require.NoError(t, gotNode.unmarshal(node.marshal()))
	require.Equal(t, node, gotNode)

	length := lengthValue{length: 1 << 40, changed: 99}
	var gotLength lengthValue
	require.NoError(t, gotLength.unmarshal(length.marshal()))
	require.Equal(t, length, gotLength)
}

func TestBadValues(t *testing.T) {
	for name, err := range map[string]error{
		"super size":      new(superValue).unmarshal(make([]byte, 31)),
		"super version 0": new(superValue).unmarshal(make([]byte, superSize)),
		"node size":       new(nodeValue).unmarshal(make([]byte, 17)),
		"node version":    new(nodeValue).unmarshal([]byte{2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
		"node kind":       new(nodeValue).unmarshal([]byte{1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
		"node reserved":   new(nodeValue).unmarshal([]byte{1, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
		"length size":     new(lengthValue).unmarshal(nil),
		"length negative": new(lengthValue).unmarshal([]byte{0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0}),
	} {
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
}

func TestLinkKeys(t *testing.T) {
	for _, name := range []string{"a", "000012.sst", "with space", "ü", strings.Repeat("x", MaxName)} {
		parent, got, ok, err := parseLinkKey(linkKey(0x1000abcde, name))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, blobstore.BlobID(0x1000abcde), parent)
		require.Equal(t, name, got)
	}
	_, _, ok, err := parseLinkKey("blobfs.length")
	require.False(t, ok)
	require.NoError(t, err)
	for _, bad := range []string{
		"blobfs.link/", "blobfs.link/0000000100000001", "blobfs.link/0000000100000001/", "blobfs.link/000000010000001/x",
		"blobfs.link/00000001000000zz/x", "blobfs.link/0000000100000001/..", "blobfs.link/0000000100000001/a/b",
		"blobfs.link/000000010000000A/x", "blobfs.link/+000000100000001/x",
		linkKey(RootID, strings.Repeat("x", MaxName+1)),
	} {
		_, _, ok, err := parseLinkKey(bad)
		require.True(t, ok, bad)
		require.ErrorIs(t, err, ErrCorrupt, bad)
	}
}

// TestFeatureTiers checks what unknown flags do to a mount.
func TestFeatureTiers(t *testing.T) {
	for _, c := range []struct {
		super    superValue
		readOnly bool
		refused  bool
	}{
		{superValue{version: 1}, false, false},
		{superValue{version: 2}, false, true},
		{superValue{version: 1, invalid: 1 << 40}, false, true},
		{superValue{version: 1, dataRO: 1}, true, false},
		{superValue{version: 1, mdRO: 1}, true, false},
	} {
		why, err := c.super.mountable()
		require.Equal(t, c.readOnly, why != "", "%+v", c.super)
		if c.refused {
			require.ErrorIs(t, err, ErrNewerVersion)
		} else {
			require.NoError(t, err)
		}
	}
}

func FuzzLinkKey(f *testing.F) {
	f.Add("blobfs.link/0000000100000001/x")
	f.Add("blobfs.link/")
	f.Fuzz(func(t *testing.T, key string) {
		parent, name, ok, err := parseLinkKey(key)
		if ok && err == nil {
			require.Equal(t, key, linkKey(parent, name))
		}
	})
}

func FuzzValues(f *testing.F) {
	f.Add(superValue{version: 1}.marshal())
	f.Add(nodeValue{kind: kindDir, created: 1}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		var s superValue
		if s.unmarshal(b) == nil {
			require.Equal(t, b, s.marshal())
		}
		var n nodeValue
		if n.unmarshal(b) == nil {
			require.Equal(t, b, n.marshal())
		}
		var l lengthValue
		if l.unmarshal(b) == nil {
			require.Equal(t, b, l.marshal())
		}
	})
}
