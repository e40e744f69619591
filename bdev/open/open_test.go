package open

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

func TestParse(t *testing.T) {
	sleep := bdev.PolicySleep
	for name, want := range map[string]Spec{
		"malloc:1GiB":                  {Scheme: "malloc", Size: 1 << 30},
		"malloc:1GiB?block=512":        {Scheme: "malloc", Size: 1 << 30, Block: 512},
		"malloc:?size=4M":              {Scheme: "malloc", Size: 4 << 20},
		"aio:/x.img?size=64GiB":        {Scheme: "aio", Path: "/x.img", Size: 64 << 30},
		"file:rel/x.img":               {Scheme: "file", Path: "rel/x.img"},
		"aio:/a?policy=sleep":          {Scheme: "aio", Path: "/a", Policy: &sleep},
		"aio:/a?channels=3&block=4k":   {Scheme: "aio", Path: "/a", Channels: 3, Block: 4096},
		"/bare/path":                   {Scheme: defaultScheme, Path: "/bare/path"},
		"bare":                         {Scheme: defaultScheme, Path: "bare"},
		"./aio:x":                      {Scheme: defaultScheme, Path: "./aio:x"},
		`C:\data\x.img`:                {Scheme: defaultScheme, Path: `C:\data\x.img`},
		`file:C:\data\x.img?size=1G`:   {Scheme: "file", Path: `C:\data\x.img`, Size: 1 << 30},
		"aio:/100%25/what%3F.img?":     {Scheme: "aio", Path: "/100%/what?.img"},
		"/100%25?size=1k":              {Scheme: defaultScheme, Path: "/100%", Size: 1024},
		"aio:/a:b":                     {Scheme: "aio", Path: "/a:b"},
		"my_dir:x":                     {Scheme: defaultScheme, Path: "my_dir:x"},
		"malloc:64MiB?policy=adaptive": {Scheme: "malloc", Size: 64 << 20, Policy: new(bdev.Policy)},
	} {
		got, err := Parse(name)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
		again, err := Parse(got.String())
		require.NoError(t, err, got.String())
		require.Equal(t, want, again, "%s printed as %s", name, got)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, says := range map[string]string{
		"":                        "no path",
		"aio:":                    "no path",
		"malloc":                  "write ./malloc for a file",
		"nvme-sim?block=512":      "write ./nvme-sim?block=512 for a file",
		"aio":                     "./aio",
		"nvm:0000:01:00.0":        "malloc, aio, file",
		"AIO:/x":                  "unknown scheme",
		"aio:/x?speed=3":          "size, block, policy, channels, ns, queues",
		"aio:/x?size=1G&size=2G":  "twice",
		"malloc:1G?size=1G":       "twice",
		"nvme:":                   "PCI address",
		"nvme:nowhere":            "PCI address",
		"nvme:01:00.0/0":          "want a number from 1 to 4294967294",
		"nvme:01:00.0/4294967295": "want a number from 1 to 4294967294",
		"nvme:VFIO-USER:/x":       "nor vfio-user:",
		"nvme:01:00.9/1":          "PCI address",
		"nvme:01:00.0/1?ns=2":     "twice",
		"nvme:01:00.0?ns=x":       "want a number from 1",
		"nvme:01:00.0?size=1G":    "means nothing for nvme",
		"nvme:01:00.0?block=512":  "means nothing for nvme",
		"nvme:01:00.0?queues=0":   "1 to 128",
		"nvme:vfio-user:":         "no path",
		"nvme-sim:":               "not a size",
		"nvme-sim:1G?ns=1":        "means nothing for nvme-sim",
		"aio:/x?queues=2":         "means nothing for aio",
		"malloc:":                 "not a size",
		"malloc:0":                "size 0",
		"malloc:1":                "multiple of the block size 4096",
		"malloc:?size=4097":       "multiple of the block size 4096",
		"malloc:1000?block=512":   "multiple of the block size 512",
		"nvme-sim:511":            "multiple of the block size 4096",
		"nvme-sim:?size=4097":     "multiple of the block size 4096",
		"nvme-sim:1M?block=1k":    "want 512 or 4096",
		"malloc:big":              "not a size",
		"aio:/x?size=-1":          "not a size",
		"aio:/x?block=1000":       "power of two",
		"aio:/x?policy=fast":      "adaptive, poll, sleep",
		"aio:/x?channels=0":       "1 to 64",
		"aio:/100%":               "%25",
		"aio:/100%zz":             "%25",
		"aio:/a%00b":              "NUL",
		"aio:/a\x00b":             "NUL",
		"aio:/x?size":             "not a size",
	} {
		_, err := Parse(name)
		require.ErrorIs(t, err, ErrName, name)
		require.ErrorContains(t, err, says, name)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"malloc:1GiB?block=512", "aio:/x%3F?size=1G&policy=poll", `C:\x`, "?", "%", "::", "file:a?&"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s, err := Parse(name)
		if err != nil {
			require.ErrorIs(t, err, ErrName)
			return
		}
		again, err := Parse(s.String())
		require.NoError(t, err, "%q printed as %q", name, s.String())
		require.Equal(t, s, again)
	})
}

// imageSchemes are the backends on files that work here.
func imageSchemes() []string {
	if defaultScheme == schemeAIO {
		return []string{"file:", "aio:", ""}
	}
	return []string{"file:", ""}
}

func TestCreateAndReopen(t *testing.T) {
	for _, scheme := range imageSchemes() {
		path := filepath.Join(t.TempDir(), "image")
		_, err := Device(scheme+path, Options{})
		require.ErrorIs(t, err, bdev.ErrNotExist)
		require.NoFileExists(t, path)

		d, err := Device(scheme+path+"?size=4MiB", Options{Create: true})
		require.NoError(t, err)
		require.True(t, d.Fresh())
		require.EqualValues(t, 4<<20, d.Size())
		require.Equal(t, Spec{Scheme: must(Parse(scheme + path)).Scheme, Path: path}.String(), d.Name())
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode().Perm())
		page := make([]byte, 4096)
		rand.NewChaCha8([32]byte{1}).Read(page)
		require.NoError(t, d.Write(page, 8192))
		require.NoError(t, d.Flush())
		_, err = Device(scheme+path, Options{ReadOnly: true})
		require.ErrorIs(t, err, bdev.ErrInUse)
		require.NoError(t, d.Close())

		d, err = Device(scheme+path, Options{Create: true, Size: 8 << 20})
		require.NoError(t, err)
		require.False(t, d.Fresh())
		require.EqualValues(t, 8<<20, d.Size(), "a larger size grows the image")
		got := make([]byte, 4096)
		require.NoError(t, d.Read(got, 8192))
		require.Equal(t, page, got)
		require.NoError(t, d.Close())

		d, err = Device(scheme+path+"?size=1MiB", Options{ReadOnly: true})
		require.NoError(t, err)
		require.EqualValues(t, 8<<20, d.Size(), "a smaller size leaves it alone")
		require.ErrorIs(t, d.Write(page, 0), bdev.ErrReadOnly)
		other, err := Device(scheme+path, Options{ReadOnly: true})
		require.NoError(t, err, "readers admit each other")
		require.NoError(t, other.Close())
		require.NoError(t, d.Close())
	}
}

func TestDefaultSizeIsSparse(t *testing.T) {
	for _, scheme := range imageSchemes() {
		path := filepath.Join(t.TempDir(), "image")
		d, err := Device(scheme+path, Options{Create: true})
		if errors.Is(err, bdev.ErrNoSpace) {
			t.Skip("no sparse files of 64 GiB here")
		}
		require.NoError(t, err)
		require.EqualValues(t, DefaultImageSize, d.Size())
		require.True(t, d.Properties().Sparse)
		require.NoError(t, d.Close())
		d, err = Device(scheme+path, Options{Create: true, Policy: bdev.PolicySleep})
		require.NoError(t, err)
		require.EqualValues(t, DefaultImageSize, d.Size())
		require.Equal(t, bdev.PolicySleep, d.Policy())
		require.NoError(t, d.Close())
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	for _, scheme := range imageSchemes() {
		path := filepath.Join(t.TempDir(), "image")
		_, err := Device(scheme+path+"?size=100", Options{Create: true})
		require.ErrorIs(t, err, bdev.ErrInvalid)
		require.NoFileExists(t, path)
	}
	_, err := Device("file:"+t.TempDir(), Options{})
	require.ErrorIs(t, err, bdev.ErrUnsupported)
}

func TestNVMeNames(t *testing.T) {
	for name, want := range map[string]string{
		"nvme:0000:01:00.0":                       "nvme:0000:01:00.0",
		"nvme:01:00.0/3":                          "nvme:0000:01:00.0?ns=3",
		"nvme:0000:01:00.0?queues=4&ns=1":         "nvme:0000:01:00.0?ns=1&queues=4",
		"nvme:vfio-user:/run/x/y?ns=1":            "nvme:vfio-user:/run/x/y?ns=1",
		"nvme:vfio-user:/run/a%3Fb%25?channels=2": "nvme:vfio-user:/run/a%3Fb%25?channels=2",
		"nvme-sim:1GiB?block=512":                 "nvme-sim:1GiB?block=512",
		"nvme-sim:?size=1GiB&policy=sleep":        "nvme-sim:1GiB?policy=sleep",
	} {
		if runtime.GOOS == "windows" && strings.Contains(name, "vfio-user") {
			continue // absolute paths have a drive there
		}
		s, err := Parse(name)
		require.NoError(t, err, name)
		require.Equal(t, want, s.String())
		require.Empty(t, s.Path, "it is taken for a file")
	}
	s := must(Parse("nvme:vfio-user:/run/x/y?ns=2&queues=3"))
	require.Equal(t, Spec{Scheme: "nvme", Controller: "vfio-user:/run/x/y", Namespace: 2, Queues: 3}, s)
}

func TestNVMeSim(t *testing.T) {
	d, err := Device("nvme-sim:16MiB?block=512&queues=2", Options{})
	require.NoError(t, err)
	require.True(t, d.Fresh())
	require.Equal(t, 512, d.BlockSize())
	require.Equal(t, "nvme-sim:16MiB?block=512", d.Name())
	require.False(t, d.Properties().Durable)
	page := make([]byte, 4096)
	rand.NewChaCha8([32]byte{2}).Read(page)
	require.NoError(t, d.Write(page, 512))
	got := make([]byte, 4096)
	require.NoError(t, d.Read(got, 512))
	require.Equal(t, page, got)
	require.NoError(t, d.Close())
	_, err = Device("nvme-sim:1000", Options{})
	require.ErrorIs(t, err, bdev.ErrInvalid)
	_, err = Device("nvme:ffff:ff:1f.7", Options{})
	require.Error(t, err)
}

func TestMalloc(t *testing.T) {
	d, err := Device("malloc:1MiB?block=512&policy=poll", Options{})
	require.NoError(t, err)
	require.True(t, d.Fresh())
	require.Equal(t, 512, d.BlockSize())
	require.Equal(t, bdev.PolicyPoll, d.Policy())
	require.NoError(t, d.Close())
	_, err = Device("malloc:1000", Options{})
	require.ErrorIs(t, err, bdev.ErrInvalid)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
