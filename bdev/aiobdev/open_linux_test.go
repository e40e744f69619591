package aiobdev

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
)

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	b := openImage(t, path, Options{Create: true, Size: testSize})
	require.True(t, b.Fresh())
	require.EqualValues(t, testSize, b.Properties().BlockCount*int64(b.Properties().BlockSize))
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), st.Mode())
	require.EqualValues(t, testSize, st.Size())
	require.Less(t, hostBytes(t, b), int64(testSize), "a new image is sparse")
	require.NoError(t, b.Close())

	again := openImage(t, path, Options{Create: true, Size: testSize})
	require.False(t, again.Fresh())
}

func TestSizeOfAnExistingImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(path, make([]byte, testSize), 0o600))
	reopen := func(o Options) int64 {
		b := openImage(t, path, o)
		defer b.Close()
		return b.size.Load()
	}
	require.EqualValues(t, testSize, reopen(Options{}))
	require.EqualValues(t, testSize, reopen(Options{Size: testSize / 2}), "an image never shrinks")
	require.EqualValues(t, testSize, reopen(Options{Size: 2 * testSize, ReadOnly: true}), "a reader changes nothing")
	require.EqualValues(t, 2*testSize, reopen(Options{Size: 2 * testSize}))
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, make([]byte, 8192), 0o600))
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	missing := filepath.Join(dir, "missing")
	cases := []struct {
		name string
		path string
		o    Options
		want error
	}{
		{"missing", missing, Options{}, bdev.ErrNotExist},
		{"missing, as the system says it", missing, Options{}, fs.ErrNotExist},
		{"missing and to be read only", missing, Options{Create: true, ReadOnly: true, Size: 4096}, bdev.ErrNotExist},
		{"created without a size", missing, Options{Create: true}, bdev.ErrInvalid},
		{"created too large", missing, Options{Create: true, Size: 1 << 62}, unix.EFBIG},
		{"created with a bad block size", missing, Options{Create: true, Size: 4096, BlockSize: 1000}, bdev.ErrInvalid},
		{"created in no folder", filepath.Join(missing, "x"), Options{Create: true, Size: 4096}, fs.ErrNotExist},
		{"folder", dir, Options{}, bdev.ErrUnsupported},
		{"pipe", pipe, Options{ReadOnly: true}, bdev.ErrUnsupported},
		{"empty", empty, Options{}, bdev.ErrInvalid},
		{"block smaller than a sector", file, Options{BlockSize: 256}, bdev.ErrInvalid},
		{"block larger than the image", file, Options{BlockSize: 1 << 16}, bdev.ErrInvalid},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b, err := Open(c.path, c.o)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.path)
			require.Nil(t, b)
			require.NoFileExists(t, missing, "a failed open leaves no image behind")
		})
	}
	require.FileExists(t, empty, "what was there before stays")
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	writer := openImage(t, path, Options{Create: true, Size: testSize})
	for _, o := range []Options{{}, {ReadOnly: true}, {Create: true, Size: 2 * testSize}} {
		_, err := Open(path, o)
		require.ErrorIs(t, err, bdev.ErrInUse)
		require.ErrorContains(t, err, "in use by this process")
	}
	require.EqualValues(t, testSize, writer.size.Load())
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, testSize, st.Size(), "a refused opener has not grown the image")
	require.NoError(t, writer.Close())

	openImage(t, path, Options{ReadOnly: true})
	openImage(t, path, Options{ReadOnly: true})
	_, err = Open(path, Options{})
	require.ErrorIs(t, err, bdev.ErrInUse)
}

func TestProperties(t *testing.T) {
	b := newImage(t, Options{BlockSize: testBlock, QueueDepth: 17})
	p := b.Properties()
	require.Equal(t, testBlock, p.BlockSize)
	require.EqualValues(t, testSize/testBlock, p.BlockCount)
	require.Equal(t, 17, p.QueueDepth)
	require.True(t, p.Sparse)
	require.False(t, p.ReadOnly)
	require.True(t, p.WriteCache)
	require.NotZero(t, p.BufferAlign)
	require.Equal(t, sectorSize, p.AtomicWriteUnit)
}

func TestOddSizeCountsWholeBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(path, make([]byte, 3*testBlock+100), 0o600))
	b := openImage(t, path, Options{BlockSize: testBlock})
	require.EqualValues(t, 3, b.Properties().BlockCount)
}

func TestImageInRAMIsNotDurable(t *testing.T) {
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) != nil || st.Type != unix.TMPFS_MAGIC {
		t.Skip("no tmpfs at /dev/shm")
	}
	dir, err := os.MkdirTemp("/dev/shm", "aiobdev")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := openImage(t, filepath.Join(dir, "image"), Options{Create: true, Size: testSize})
	require.False(t, b.Properties().Durable)
	require.Contains(t, b.Properties().Note, "tmpfs")
	verifyIO(t, b)
}

// TestBufferedFallback does what a file system without O_DIRECT causes.
func TestBufferedFallback(t *testing.T) {
	b := newImage(t, Options{})
	require.NoError(t, setDirect(b.fd, false))
	b.direct = false
	require.NoError(t, b.setGeometry(b.imageGeometry(), Options{}))
	b.durable = true
	b.describe("somefs")
	p := b.Properties()
	require.Equal(t, "O_DIRECT refused by somefs: buffered I/O", p.Note)
	require.Equal(t, 1, p.BufferAlign)
	require.Equal(t, sectorSize, p.BlockSize)
	verifyIO(t, b)
}

func TestProbedGeometryAgreesWithTheKernel(t *testing.T) {
	b := newImage(t, Options{})
	told, ok := directGeometry(b.fd)
	if !ok || !told.direct || told.offsetAlign > pageSize {
		t.Skip("the kernel does not tell")
	}
	probed := probeGeometry(b.fd)
	require.True(t, probed.direct)
	require.GreaterOrEqual(t, probed.offsetAlign, told.offsetAlign)
	require.GreaterOrEqual(t, probed.memoryAlign, told.memoryAlign)
}

func TestResize(t *testing.T) {
	b := newImage(t, Options{})
	require.NoError(t, b.Resize(2*testSize))
	require.EqualValues(t, 2*testSize, b.Properties().BlockCount*int64(b.Properties().BlockSize))
	require.ErrorIs(t, b.Resize(testSize), bdev.ErrUnsupported)
	q := openQueue(t, b)
	data := randomBuffer(t, testBlock, 1)
	do(t, q, bdev.OpWrite, 2*testSize-testBlock, data)
	got := alignedBuffer(t, testBlock)
	do(t, q, bdev.OpRead, 2*testSize-testBlock, got)
	require.Equal(t, data, got)
}
