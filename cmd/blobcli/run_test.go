package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// result is what one command line did.
type result struct {
	code           int
	stdout, stderr string
}

// blobcli runs one command line.
func blobcli(stdin string, args ...string) result {
	var out, err bytes.Buffer
	code := run(context.Background(), args, strings.NewReader(stdin), &out, &err)
	return result{code, out.String(), err.String()}
}

// ok runs a command line that must succeed and returns what it printed.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	r := blobcli("", args...)
	require.Equal(t, exitOK, r.code, "blobcli %v: %s%s", args, r.stdout, r.stderr)
	return r.stdout
}

// okJSON runs a command line with --format json and decodes what it printed.
func okJSON(t *testing.T, into any, args ...string) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(ok(t, append(args, "--format", "json")...)), into))
}

// newStore makes an image with an empty store and returns its device name.
func newStore(t *testing.T) string {
	t.Helper()
	device := filepath.Join(t.TempDir(), "store.img")
	ok(t, "-d", device+"?size=64MiB", "init")
	return device
}

// golden unpacks an image that SPDK wrote.
func golden(t *testing.T, name string) string {
	t.Helper()
	in, err := os.Open(filepath.Join("../../blobstore/testdata/golden", name))
	require.NoError(t, err)
	defer in.Close()
	z, err := gzip.NewReader(in)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), strings.TrimSuffix(name, ".gz"))
	out, err := os.Create(path)
	require.NoError(t, err)
	_, err = io.Copy(out, z)
	require.NoError(t, err)
	require.NoError(t, out.Close())
	return path
}
