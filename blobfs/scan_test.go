package blobfs

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/blobstore"
)

// tamper changes the store of an unmounted file system behind its back.
func (e *env) tamper(change func(tx *blobstore.Tx)) {
	e.t.Helper()
	if !e.closed.Load() {
		require.NoError(e.t, e.FS.Close())
	}
	store, err := blobstore.Open(e.dev, blobstore.OpenOptions{})
	require.NoError(e.t, err)
	tx := store.Begin()
	change(tx)
	_, err = tx.Commit()
	require.NoError(e.t, err)
	require.NoError(e.t, store.Close())
}

// findings are the errors that a check has to say.
func (e *env) findings() []string {
	e.t.Helper()
	report, err := Check(e.dev, blobstore.CheckOptions{})
	require.NoError(e.t, err)
	var texts []string
	for _, f := range report.Findings {
		if f.Severity == blobstore.SeverityError {
			texts = append(texts, f.Err.Error())
		}
	}
	return texts
}

func (e *env) id(name string) blobstore.BlobID {
	e.t.Helper()
	info, err := e.Stat(name)
	require.NoError(e.t, err)
	return info.ID
}

// TestDamagedTrees: each contradiction is found, named, and costs no more than what it is about.
func TestDamagedTrees(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(ids map[string]blobstore.BlobID, tx *blobstore.Tx)
		want   string
	}{
		{"length beyond the clusters", func(ids map[string]blobstore.BlobID, tx *blobstore.Tx) {
			tx.SetXattr(ids["/f"], xattrLength, lengthValue{length: 1 << 30}.marshal())
		}, "length 1073741824, but its clusters hold 65536 bytes"},
		{"length of the wrong size", func(ids map[string]blobstore.BlobID, tx *blobstore.Tx) {
			tx.SetXattr(ids["/f"], xattrLength, []byte{1, 2, 3})
		}, "blobfs.length: 3 bytes, expected 16"},
		{"unknown kind", func(ids map[string]blobstore.BlobID, tx *blobstore.Tx) {
			tx.SetXattr(ids["/f"], xattrNode, nodeValue{kind: 9}.marshal())
		}, "kind 9, expected 1 or 2"},
		{"name taken twice", func(ids map[string]blobstore.BlobID, tx *blobstore.Tx) {
			tx.SetXattr(ids["/f"], linkKey(RootID, "keep"), linkValue())
		}, "has the name already"},
		{"parent missing", func(ids map[string]blobstore.BlobID, tx *blobstore.Tx) {
			tx.SetXattr(ids["/f"], linkKey(0x100000999, "x"), linkValue())
		}, "the directory does not exist"},
		{"parent is a file", func(ids map[string]blobstore.BlobID, tx *blobstore.Tx) {
			tx.SetXattr(ids["/f"], linkKey(ids["/keep"], "x"), linkValue())
		}, "the directory is a file"},
		{"directory with two names", func(ids map[string]blobstore.BlobID, tx *blobstore.Tx) {
			tx.SetXattr(ids["/d"], linkKey(RootID, "d2"), linkValue())
		}, "the directory has another name already"},
		{"cycle", func(ids map[string]blobstore.BlobID, tx *blobstore.Tx) {
			tx.RemoveXattr(ids["/d"], linkKey(RootID, "d"))
			tx.SetXattr(ids["/d"], linkKey(ids["/d/sub"], "up"), linkValue())
		}, "no path leads to it from the root"},
		{"root with a name", func(ids map[string]blobstore.BlobID, tx *blobstore.Tx) {
			tx.SetXattr(RootID, linkKey(ids["/d"], "root"), linkValue())
		}, "the root has no name"},
		{"bad link", func(ids map[string]blobstore.BlobID, tx *blobstore.Tx) {
			tx.SetXattr(ids["/f"], xattrLinkPrefix+"zz/f", linkValue())
		}, "expected a parent's id and a name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := ramDevice(t, 16<<20)
			require.NoError(t, Format(dev, smallStore))
			e := &env{t: t, dev: dev}
			e.mount()
			require.NoError(t, e.MkdirAll("/d/sub"))
			e.create("/keep", []byte("kept"))
			e.create("/f", []byte("f"))
			ids := map[string]blobstore.BlobID{}
			for _, name := range []string{"/d", "/d/sub", "/keep", "/f"} {
				ids[name] = e.id(name)
			}
			e.tamper(func(tx *blobstore.Tx) { c.change(ids, tx) })
			require.Contains(t, join(e.findings()), c.want)
			e.mount()
			require.Equal(t, "kept", string(e.read("/keep")))
			e.create("/new", []byte("n"))
			require.NoError(t, e.FS.Close())
			require.Contains(t, join(e.findings()), c.want, "a mount repairs nothing and loses nothing")
		})
	}
}

func join(texts []string) string {
	all := ""
	for _, t := range texts {
		all += t + "\n"
	}
	return all
}

// TestDamagedFileIsRefusedAlone: it is listed, not opened, and can be removed.
func TestDamagedFileIsRefusedAlone(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	e.create("/f", []byte("f"))
	id := e.id("/f")
	e.tamper(func(tx *blobstore.Tx) { tx.SetXattr(id, xattrLength, lengthValue{length: 1 << 30}.marshal()) })
	e.mount()
	require.Equal(t, []string{"f"}, e.names("/"))
	_, err := e.Open("/f")
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = e.Reuse("/f", "/g")
	require.ErrorIs(t, err, ErrCorrupt)
	require.NoError(t, e.Remove("/f"))
}

// TestForeignBlobsAreLeftAlone: what has no blobfs.node is somebody else's.
func TestForeignBlobsAreLeftAlone(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	e.tamper(func(tx *blobstore.Tx) { tx.SetXattr(tx.Create(), "theirs", []byte("x")) })
	e.mount()
	require.Empty(t, e.names("/"))
	require.NoError(t, e.FS.Close())
	report, err := Check(e.dev, blobstore.CheckOptions{})
	require.NoError(t, err)
	require.Equal(t, int64(1), report.Foreign)
	require.True(t, report.OK())
}

// TestFeatureFlagsAtMount: an unknown feature refuses the mount or makes it read-only, as its tier says.
func TestFeatureFlagsAtMount(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	set := func(v superValue) func(*blobstore.Tx) {
		return func(tx *blobstore.Tx) { tx.SetXattr(RootID, xattrSuper, v.marshal()) }
	}
	e.tamper(set(superValue{version: 1, invalid: 8}))
	_, err := Open(e.dev, Options{})
	require.ErrorIs(t, err, ErrNewerVersion)
	require.ErrorContains(t, err, "ram")
	e.tamper(set(superValue{version: 1, mdRO: 8}))
	e.mount()
	require.NotEmpty(t, e.ReadOnlyReason())
	_, err = e.Create("/f")
	require.ErrorIs(t, err, ErrReadOnly)
	require.NoError(t, e.FS.Close())
	e.tamper(set(superValue{version: 1}))
	e.mount()
	e.create("/f", nil)
}
