package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// lowerErrors are the sentinels of every layer below and what they are to a caller of this package; nil where the
// error of that layer is the best answer (a broken device, or what only a mistake of ours could cause).
var lowerErrors = map[string]struct{ cause, kind error }{
	"pebble.ErrNotFound":        {pebble.ErrNotFound, ErrNotFound},
	"pebble.ErrClosed":          {pebble.ErrClosed, ErrClosed},
	"pebble.ErrReadOnly":        {pebble.ErrReadOnly, ErrReadOnly},
	"pebble.ErrBatchTooLarge":   {pebble.ErrBatchTooLarge, ErrTooLarge},
	"pebble.ErrCorruption":      {pebble.ErrCorruption, ErrCorrupt},
	"pebble.ErrDBAlreadyExists": {pebble.ErrDBAlreadyExists, ErrExists},
	"pebble.ErrDBDoesNotExist":  {pebble.ErrDBDoesNotExist, ErrNotStore},

	"bdev.ErrOutOfRange":  {bdev.ErrOutOfRange, nil},
	"bdev.ErrUnaligned":   {bdev.ErrUnaligned, nil},
	"bdev.ErrReadOnly":    {bdev.ErrReadOnly, ErrReadOnly},
	"bdev.ErrUnsupported": {bdev.ErrUnsupported, nil},
	"bdev.ErrInvalid":     {bdev.ErrInvalid, ErrDevice},
	"bdev.ErrClosed":      {bdev.ErrClosed, ErrClosed},
	"bdev.ErrNoSpace":     {bdev.ErrNoSpace, ErrNoSpace},
	"bdev.ErrInUse":       {bdev.ErrInUse, ErrInUse},
	"bdev.ErrIO":          {bdev.ErrIO, nil},
	"bdev.ErrMiscompare":  {bdev.ErrMiscompare, nil},
	"bdev.ErrNotExist":    {bdev.ErrNotExist, ErrNotStore},
	"bdev.ErrGone":        {bdev.ErrGone, nil},
	"open.ErrName":        {open.ErrName, ErrDevice},

	"blobstore.ErrNotBlobstore":    {blobstore.ErrNotBlobstore, ErrNotStore},
	"blobstore.ErrWrongType":       {blobstore.ErrWrongType, ErrNotStore},
	"blobstore.ErrNewerVersion":    {blobstore.ErrNewerVersion, ErrNewerVersion},
	"blobstore.ErrTruncated":       {blobstore.ErrTruncated, ErrCorrupt},
	"blobstore.ErrUnsupported":     {blobstore.ErrUnsupported, ErrNotStore},
	"blobstore.ErrCorrupt":         {blobstore.ErrCorrupt, ErrCorrupt},
	"blobstore.ErrNotClean":        {blobstore.ErrNotClean, ErrCorrupt},
	"blobstore.ErrOccupied":        {blobstore.ErrOccupied, ErrNotStore},
	"blobstore.ErrUnsupportedBlob": {blobstore.ErrUnsupportedBlob, nil},
	"blobstore.ErrNoSpace":         {blobstore.ErrNoSpace, ErrNoSpace},
	"blobstore.ErrNotFound":        {blobstore.ErrNotFound, nil},
	"blobstore.ErrReadOnly":        {blobstore.ErrReadOnly, ErrReadOnly},
	"blobstore.ErrClosed":          {blobstore.ErrClosed, ErrClosed},
	"blobstore.ErrOutOfRange":      {blobstore.ErrOutOfRange, nil},
	"blobstore.ErrInvalid":         {blobstore.ErrInvalid, nil},
	"blobstore.ErrTooLarge":        {blobstore.ErrTooLarge, nil},
	"blobstore.ErrTooMuchVouched":  {blobstore.ErrTooMuchVouched, nil}, // blobfs commits without a voucher then

	"blobfs.ErrNotExist":     {blobfs.ErrNotExist, nil},
	"blobfs.ErrExist":        {blobfs.ErrExist, nil},
	"blobfs.ErrClosed":       {blobfs.ErrClosed, ErrClosed},
	"blobfs.ErrInvalid":      {blobfs.ErrInvalid, nil},
	"blobfs.ErrNameTooLong":  {blobfs.ErrNameTooLong, nil},
	"blobfs.ErrNotDir":       {blobfs.ErrNotDir, nil},
	"blobfs.ErrIsDir":        {blobfs.ErrIsDir, nil},
	"blobfs.ErrNotEmpty":     {blobfs.ErrNotEmpty, nil},
	"blobfs.ErrNoSpace":      {blobfs.ErrNoSpace, ErrNoSpace},
	"blobfs.ErrReadOnly":     {blobfs.ErrReadOnly, ErrReadOnly},
	"blobfs.ErrNotFS":        {blobfs.ErrNotFS, ErrNotStore},
	"blobfs.ErrNewerVersion": {blobfs.ErrNewerVersion, ErrNewerVersion},
	"blobfs.ErrCorrupt":      {blobfs.ErrCorrupt, ErrCorrupt},
}

// ourErrors are all sentinels of this package.
var ourErrors = []error{
	ErrNotFound, ErrNoSpace, ErrReadOnly, ErrInUse, ErrExists, ErrNotStore, ErrNewerVersion, ErrCorrupt, ErrClosed,
	ErrOpenHandles, ErrTooLarge, ErrDevice,
}

// TestErrorKinds checks that each error from below is exactly the one of ours that the table says, and keeps its cause.
func TestErrorKinds(t *testing.T) {
	for name, e := range lowerErrors {
		err := wrap(e.cause)
		if name != "pebble.ErrNotFound" { // the one that is returned bare, to be cheap
			err = wrap(fmt.Errorf("somewhere: %w", e.cause))
			require.ErrorIs(t, err, e.cause, name)
		}
		for _, ours := range ourErrors {
			require.Equal(t, ours == e.kind, errors.Is(err, ours), "%s: is it %q?", name, ours)
		}
	}
}

// TestErrorKindsComplete checks that no sentinel of our own layers is missing in the table.
func TestErrorKindsComplete(t *testing.T) {
	for _, dir := range []string{"bdev", "bdev/open", "blobstore", "blobfs"} {
		names := sentinels(t, filepath.Join("..", dir))
		require.NotEmpty(t, names, dir)
		for _, name := range names {
			name = filepath.Base(dir) + "." + name
			_, listed := lowerErrors[name]
			require.True(t, listed, "lowerErrors has no %s: which of our errors is it?", name)
		}
	}
}

// sentinels returns the names of the exported error variables that a package declares.
func sentinels(t *testing.T, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	var names []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			names = append(names, errorVars(d)...)
		}
	}
	return names
}

func errorVars(d ast.Decl) (names []string) {
	g, ok := d.(*ast.GenDecl)
	if !ok || g.Tok != token.VAR {
		return nil
	}
	for _, s := range g.Specs {
		for _, id := range s.(*ast.ValueSpec).Names {
			if strings.HasPrefix(id.Name, "Err") {
				names = append(names, id.Name)
			}
		}
	}
	return names
}

// TestOpenForeignAndDamaged opens what a newer version, another program and a bad disk leave. Nothing of it is
// overwritten, whatever the options say.
func TestOpenForeignAndDamaged(t *testing.T) {
	for _, c := range []struct {
		name   string
		tamper func(t *testing.T, device string)
		want   error
	}{
		{"newer superblock", patchSuper(8, 4), ErrNewerVersion},
		{"newer file system", setRootXattr("blobfs.super", 2), ErrNewerVersion},
		{"damaged file system", setRootXattr("blobfs.super", 0), ErrCorrupt},
		{"no file system", removeRootXattr("blobfs.super"), ErrNotStore},
		{"damaged superblock", flipByte(100), ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			device := image(t)
			db := openTest(t, device, &Options{CreateIfMissing: true})
			require.NoError(t, db.Close())
			c.tamper(t, device)
			for _, o := range []*Options{nil, {ReadOnly: true}, {CreateIfMissing: true}} {
				_, err := Open(device, o)
				for _, ours := range ourErrors {
					require.Equal(t, ours == c.want, errors.Is(err, ours), "%v: is it %q?", err, ours)
				}
				require.ErrorContains(t, err, "store.img")
			}
		})
	}
}

// editSuper changes the superblock of a closed store.
func editSuper(t *testing.T, device string, edit func(super []byte)) {
	path, _, _ := strings.Cut(device, "?")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	super := make([]byte, 4096)
	_, err = f.ReadAt(super, 0)
	require.NoError(t, err)
	edit(super)
	_, err = f.WriteAt(super, 0)
	require.NoError(t, err)
}

// patchSuper sets four bytes of the superblock and its checksum.
func patchSuper(off int, v uint32) func(*testing.T, string) {
	return func(t *testing.T, device string) {
		editSuper(t, device, func(super []byte) {
			binary.LittleEndian.PutUint32(super[off:], v)
			sum := crc32.Checksum(super[:4092], crc32.MakeTable(crc32.Castagnoli))
			binary.LittleEndian.PutUint32(super[4092:], sum)
		})
	}
}

func flipByte(off int) func(*testing.T, string) {
	return func(t *testing.T, device string) {
		editSuper(t, device, func(super []byte) { super[off] ^= 1 })
	}
}

// setRootXattr sets the version (the first two bytes) in an attribute of the root directory.
func setRootXattr(name string, version uint16) func(*testing.T, string) {
	return changeRoot(func(root *blobstore.Blob, tx *blobstore.Tx) {
		v, _ := root.Xattr(name)
		v = append([]byte(nil), v...)
		binary.LittleEndian.PutUint16(v, version)
		tx.SetXattr(blobfs.RootID, name, v)
	})
}

func removeRootXattr(name string) func(*testing.T, string) {
	return changeRoot(func(_ *blobstore.Blob, tx *blobstore.Tx) { tx.RemoveXattr(blobfs.RootID, name) })
}

// changeRoot changes the root directory behind the file system's back.
func changeRoot(change func(*blobstore.Blob, *blobstore.Tx)) func(*testing.T, string) {
	return func(t *testing.T, device string) {
		dev, err := open.Device(device, open.Options{})
		require.NoError(t, err)
		store, err := blobstore.Open(dev, blobstore.OpenOptions{})
		require.NoError(t, err)
		root, err := store.Blob(blobfs.RootID)
		require.NoError(t, err)
		tx := store.Begin()
		change(root, tx)
		_, err = tx.Commit()
		require.NoError(t, err)
		require.NoError(t, store.Close())
		require.NoError(t, dev.Close())
	}
}
