package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
	"github.com/blobkv/blobkv/nvme/vfio"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

// serveController serves a software controller with some namespaces of 16 MiB and returns its name.
func serveController(t *testing.T, namespaces int) string {
	t.Helper()
	cfg := softctrl.Config{Serial: "SN-7", Model: "test drive", WriteCache: true}
	for range namespaces {
		ram, err := softctrl.NewRAM(16<<20, false)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, ram.Free()) })
		cfg.Namespaces = append(cfg.Namespaces, softctrl.NamespaceConfig{Storage: ram, BlockSize: 512})
	}
	dir := filepath.Join(t.TempDir(), "ctrl")
	s, err := vfiouser.Listen(dir, vfiouser.Soft(cfg), vfiouser.ServerOptions{Log: func(string) {}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
		require.NoError(t, s.Close())
	})
	return "vfio-user:" + dir
}

func TestNVMeIdentify(t *testing.T) {
	name := serveController(t, 2)
	var v identity
	okJSON(t, &v, "nvme", "identify", name)
	require.Equal(t, "SN-7", v.Serial)
	require.Equal(t, "test drive", v.Model)
	require.True(t, v.WriteCache)
	require.Equal(t, 128<<10, v.MaxTransfer)
	require.Equal(t, 64, v.MaxQueues, "what the controller has, not what this command uses")
	require.Len(t, v.Namespaces, 2)
	require.EqualValues(t, 16<<20, v.Namespaces[1].Size)
	require.Equal(t, 512, v.Namespaces[1].Formats[v.Namespaces[1].Format].BlockSize)
	out := ok(t, "nvme", "identify", "nvme:"+name)
	require.Contains(t, out, "blocks of 512 bytes")
	require.Contains(t, out, "(in use)")
}

func TestNVMeSMARTAndLogs(t *testing.T) {
	name := serveController(t, 1)
	var v smartView
	okJSON(t, &v, "nvme", "smart", name)
	require.Empty(t, v.Warnings)
	require.Positive(t, *v.Temperature)
	require.Contains(t, ok(t, "nvme", "smart", name), "good")
	require.Contains(t, ok(t, "nvme", "log", name), "no errors")
	require.Contains(t, ok(t, "nvme", "log", name, "--page", "firmware"), "REVISION")
	require.Contains(t, ok(t, "nvme", "log", name, "--page", "2", "--bytes", "512"), "000001f0")
	for _, wrong := range [][]string{{"--page", "smart"}, {"--page", "2", "--bytes", "3"}, {"--entries", "0"}} {
		require.Equal(t, exitUsage, blobcli("", append([]string{"nvme", "log", name}, wrong...)...).code, "%v", wrong)
	}
	require.Contains(t, ok(t, "nvme", "reset", name), "works")
	var info bdevProperties
	okJSON(t, &info, "-d", "nvme:"+name, "bdev", "info")
	require.NotNil(t, info.Health)
	require.Equal(t, "zeros", info.Unmapped)
}

func TestSMARTText(t *testing.T) {
	v := smartOf("x", &spec.SMART{CriticalWarning: spec.WarnReadOnly, Temperature: 300, DataUnitsRead: spec.Uint128{Hi: 1}})
	require.Equal(t, []string{"media is read-only"}, v.Warnings)
	require.Equal(t, 27, *v.Temperature)
	require.Equal(t, ^uint64(0), v.BytesRead)
}

// TestNVMeFormat wants nothing to be lost without a yes.
func TestNVMeFormat(t *testing.T) {
	name := serveController(t, 1)
	device := "nvme:" + name
	ok(t, "-d", device, "init")
	for _, answer := range []string{"", "no\n", "y\n", "YES\n"} {
		r := blobcli(answer, "nvme", "format", name)
		require.Equal(t, exitRefused, r.code, "%q: %s", answer, r.stderr)
		require.Contains(t, r.stderr, "serial SN-7")
		require.Contains(t, r.stderr, "16.0MiB")
	}
	ok(t, "-d", device, "check")
	require.Equal(t, exitUsage, blobcli("", "nvme", "format", name, "--yes", "--block", "2048").code)
	require.Equal(t, exitUsage, blobcli("", "nvme", "format", name, "--yes", "--erase", "twice").code)
	require.Equal(t, exitUsage, blobcli("", "nvme", "format", name, "--yes", "--protection", "1").code)
	require.Equal(t, exitNotFound, blobcli("", "nvme", "format", name, "--yes", "--ns", "9").code)
	ok(t, "-d", device, "check")

	r := blobcli("yes\n", "nvme", "format", name, "--block", "4096")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stdout, "4096")
	require.Equal(t, exitNotStore, blobcli("", "-d", device, "check").code, "the store is still there")
	require.Contains(t, ok(t, "nvme", "format", name, "--yes", "--erase", "user"), "formatted")
}

// TestNVMeFormatQuestion names all that is lost on controllers that take one namespace for all.
func TestNVMeFormatQuestion(t *testing.T) {
	n := &nvme.NamespaceInfo{ID: 2, Blocks: 2048, BlockSize: 512}
	for _, c := range []struct {
		fna, erase uint8
		all        bool
	}{
		{0, spec.EraseUser, false},
		{spec.FNAFormatAll, spec.EraseNone, true},
		{spec.FNAEraseAll, spec.EraseNone, false},
		{spec.FNAEraseAll, spec.EraseUser, true},
		{spec.FNAEraseAll, spec.EraseCrypto, true},
	} {
		q := formatQuestion(&spec.IdentifyController{FNA: c.fna}, "0000:01:00.0", n, c.erase)
		require.Contains(t, q, "namespace 2 (1.0MiB)")
		require.Equal(t, c.all, strings.Contains(q, "ALL other namespaces"), "%+v: %s", c, q)
	}
}

func TestNVMeFormatOfSeveral(t *testing.T) {
	name := serveController(t, 2)
	r := blobcli("", "nvme", "format", name, "--yes")
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.stderr, "--ns")
	ok(t, "nvme", "format", name, "--yes", "--ns", "2")
	require.Equal(t, exitFailure, blobcli("", "-d", "nvme:"+name, "bdev", "info").code, "which of the two")
	require.Contains(t, ok(t, "-d", "nvme:"+name+"?ns=2", "bdev", "info"), "namespace 2")
}

func TestNVMeErrors(t *testing.T) {
	require.Equal(t, exitUsage, blobcli("", "nvme", "smart", "nvme0").code)
	require.Equal(t, exitUsage, blobcli("", "nvme", "smart").code)
	require.Equal(t, exitNotFound, blobcli("", "nvme", "smart", "vfio-user:"+t.TempDir()).code)
	for _, verb := range []string{"bind", "unbind", "smart"} {
		require.Equal(t, exitNotFound, blobcli("", "nvme", verb, "ffff:ff:1f.7").code, verb)
	}
	ok(t, "nvme", "list")
}

// TestErrorsNameTheDeviceOnce covers devices of which a part of the name is enough to find them in the text.
func TestErrorsNameTheDeviceOnce(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "plain")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	left := filepath.Join(dir, "left")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	rude := filepath.Join(dir, "rude") // hangs up on everybody
	l, err = net.ListenUnix("unix", &net.UnixAddr{Name: rude, Net: "unix"})
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			conn.Close()
		}
	}()
	for _, c := range []struct {
		controller, named string
		code              int
	}{
		{"nowhere", "nowhere", exitUsage},
		{"VFIO-USER:" + dir, dir, exitUsage},
		{"ffff:ff:1f.7", "ffff:ff:1f.7", exitNotFound},
		{"vfio-user:" + dir, dir, exitNotFound},
		{"vfio-user:" + filepath.Join(dir, "nothing"), dir, exitNotFound},
		{"vfio-user:" + file, dir, exitNotFound},
		{"vfio-user:" + left, dir, exitFailure},
		{"vfio-user:" + rude, dir, exitFailure},
	} {
		for _, args := range [][]string{{"nvme", "identify", c.controller}, {"-d", "nvme:" + c.controller, "bdev", "info"}} {
			r := blobcli("", args...)
			require.Equal(t, c.code, r.code, r.stderr)
			require.Equal(t, 1, strings.Count(r.stderr, c.named), r.stderr)
		}
	}
	for _, image := range []string{"aio:", "file:"} {
		r := blobcli("", "-d", image+filepath.Join(dir, "nothing"), "bdev", "info")
		require.Equal(t, exitNotFound, r.code, r.stderr)
		require.Equal(t, 1, strings.Count(r.stderr, dir), r.stderr)
	}
}

func TestListOfControllers(t *testing.T) {
	all := []vfio.Controller{
		{Address: "0000:01:00.0", Driver: "nvme", Group: 7, Kernel: "nvme0", Model: "Drive 9", Serial: "S9",
			Namespaces: []vfio.Namespace{{Name: "nvme0n1", ID: 1, Size: 1 << 40}}},
		{Address: "0000:02:00.0", Driver: "vfio-pci", Group: -1},
	}
	text := printed(t, formatText, all)
	require.Regexp(t, `0000:01:00.0 +Drive 9 +S9 +nvme +7 +1.0TiB +nvme0n1`, text)
	require.Regexp(t, `0000:02:00.0 +- +- +vfio-pci +none +- +-`, text)
	require.Contains(t, printed(t, formatJSON, all), `"iommu_group":-1`)
	require.Equal(t, "[]\n", printed(t, formatJSON, nil))
	require.Contains(t, printed(t, formatText, nil), "no NVMe controller")
}

func printed(t *testing.T, format string, all []vfio.Controller) string {
	t.Helper()
	var out bytes.Buffer
	c := &cli{stdout: &out, format: format}
	require.NoError(t, c.printControllers(all))
	return out.String()
}
