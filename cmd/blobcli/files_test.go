package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
)

func TestFilesGoInAndOut(t *testing.T) {
	device := newStore(t)
	content := strings.Repeat("some content\n", 100_000)
	source := filepath.Join(t.TempDir(), "source.txt")
	require.NoError(t, os.WriteFile(source, []byte(content), 0o600))

	ok(t, "-d", device, "put", source)
	r := blobcli("short", "-d", device, "fs", "put", "-", "short.txt")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, "short.txt\nsource.txt\n", ok(t, "-d", device, "ls"))
	require.Equal(t, content+"short", ok(t, "-d", device, "cat", "source.txt", "short.txt"))

	var e fileEntry
	okJSON(t, &e, "-d", device, "fs", "stat", "source.txt")
	require.EqualValues(t, len(content), e.Size)
	require.Equal(t, 1, e.Links)

	target := filepath.Join(t.TempDir(), "copy.txt")
	ok(t, "-d", device, "get", "source.txt", target)
	got, err := os.ReadFile(target)
	require.NoError(t, err)
	require.Equal(t, content, string(got))
	again := blobcli("", "-d", device, "get", "source.txt", target)
	require.NotEqual(t, exitOK, again.code, "get must not overwrite")
	require.Contains(t, again.stderr, "--force")
	require.NotEqual(t, exitOK, blobcli("x", "-d", device, "put", "-", "short.txt").code, "put must not overwrite")
	require.Equal(t, "short", ok(t, "-d", device, "cat", "short.txt"))
	require.Equal(t, exitOK, blobcli("new", "-d", device, "put", "--force", "-", "short.txt").code)
	require.Equal(t, "new", ok(t, "-d", device, "cat", "short.txt"))

	ok(t, "-d", device, "rm", "source.txt")
	require.Equal(t, "short.txt\n", ok(t, "-d", device, "ls"))
	require.Contains(t, ok(t, "-d", device, "check"), "\nOK\n")
}

func TestExitCodes(t *testing.T) {
	device := newStore(t)
	junk := filepath.Join(t.TempDir(), "junk.img")
	require.NoError(t, os.WriteFile(junk, []byte(strings.Repeat("not a store ", 1<<18)), 0o600))
	holder, err := open.Device(device, open.Options{})
	require.NoError(t, err)
	inUse := blobcli("", "-d", device, "info")
	require.NoError(t, holder.Close())

	require.Equal(t, exitInUse, inUse.code)
	require.Contains(t, inUse.stderr, "in use by")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "which device", []string{"ls"}},
		{exitUsage, "unknown flag", []string{"-d", device, "ls", "--no-such-flag"}},
		{exitUsage, "blob id", []string{"-d", device, "blob", "show", "seven"}},
		{exitUsage, "known", []string{"-d", "floppy:/x", "info"}},
		{exitNotFound, "nowhere", []string{"-d", "/nowhere/store.img", "info"}},
		{exitNotFound, "missing", []string{"-d", device, "cat", "missing"}},
		{exitNotFound, "missing", []string{"-d", device, "rm", "missing"}},
		{exitNotFound, "0x1000000ff", []string{"-d", device, "blob", "show", "255"}},
		{exitNotStore, "not a blobstore", []string{"-d", junk, "info"}},
		{exitNotStore, "not a blobstore", []string{"-d", junk, "check"}},
		{exitRefused, "--force", []string{"-d", device, "init"}},
		{exitRefused, "--force", []string{"-d", junk, "init"}},
	} {
		r := blobcli("", c.args...)
		require.Equal(t, c.code, r.code, "%v: %s", c.args, r.stderr)
		require.Contains(t, r.stderr, c.says, "%v", c.args)
	}
}

// brokenPipe is an output whose reader has gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// TestBrokenPipe: a reader of the output that has seen enough is no failure, a server of the device that has gone is one.
func TestBrokenPipe(t *testing.T) {
	device := newStore(t)
	for _, args := range [][]string{{"info"}, {"info", "--format", "json"}, {"dump", "super"}} {
		var complaints bytes.Buffer
		code := run(context.Background(), append([]string{"-d", device}, args...), nil, brokenPipe{}, &complaints)
		require.Equal(t, exitOK, code, "%v: %s", args, complaints.String())
		require.Empty(t, complaints.String())
	}
	err := &bdev.Error{Device: device, Op: bdev.OpFlush, Err: fmt.Errorf("%w: region read: %w", bdev.ErrGone, syscall.EPIPE)}
	require.Equal(t, exitFailure, exitCode(context.Background(), err))
	require.False(t, isSilent(err))
}

func TestCheckFindsDamage(t *testing.T) {
	device := newStore(t)
	require.Equal(t, exitOK, blobcli("content", "-d", device, "put", "-", "file").code)
	var e fileEntry
	okJSON(t, &e, "-d", device, "fs", "stat", "file")
	var v blobView
	okJSON(t, &v, "-d", device, "blob", "show", e.Blob)
	var info struct {
		MDStart int64 `json:"md_start"`
	}
	okJSON(t, &info, "-d", device, "info")

	f, err := os.OpenFile(device, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff}, (info.MDStart+v.Pages[0])*4096+100)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	r := blobcli("", "-d", device, "check", "--format", "json")
	require.Equal(t, exitFindings, r.code, r.stderr)
	var report checkView
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &report))
	require.False(t, report.OK)
	require.NotEmpty(t, report.Findings)
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{
		{"foo"}, {"bdev", "nope"}, {"blob", "nope"}, {"cat"}, {"rm"}, {"ls", "/a", "/b"}, {"blob", "export", "1"},
		{"-d", filepath.Join(t.TempDir(), "x.img") + "?size=16MiB", "init", "--cluster-size", "7"},
	} {
		r := blobcli("", args...)
		require.Equal(t, exitUsage, r.code, "%v: %s%s", args, r.stdout, r.stderr)
		require.NotEmpty(t, r.stderr, "%v", args)
	}
	require.Contains(t, blobcli("", "info", "aio:/x.img").stderr, "-d aio:/x.img")
}

// TestInitLeavesNoImage makes a store that cannot be made: the image that init has begun is gone, one that was there is not.
func TestInitLeavesNoImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.img")
	device := path + "?size=20MiB&block=8k"
	require.NotEqual(t, exitOK, blobcli("", "-d", device, "init").code)
	require.NoFileExists(t, path)
	require.NoError(t, os.WriteFile(path, make([]byte, 20<<20), 0o600))
	require.NotEqual(t, exitOK, blobcli("", "-d", device, "init").code)
	require.FileExists(t, path)
}
