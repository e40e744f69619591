package aiobdev

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
)

func TestUnmapGivesSpaceBack(t *testing.T) {
	b := newImage(t, Options{})
	q := openQueue(t, b)
	data := randomBuffer(t, 1<<20, 3)
	do(t, q, bdev.OpWrite, 0, data)
	require.NoError(t, execute(b, bdev.OpFlush, 0, 0))
	full := hostBytes(t, b)
	require.NoError(t, execute(b, bdev.OpUnmap, 64<<10, 512<<10))
	require.Less(t, hostBytes(t, b), full)
	require.EqualValues(t, testSize, b.size.Load())

	want := append([]byte(nil), data...)
	clear(want[64<<10 : (64+512)<<10])
	got := alignedBuffer(t, 1<<20)
	do(t, q, bdev.OpRead, 0, got)
	require.Equal(t, want, got)
}

func TestWriteZeroes(t *testing.T) {
	ways := map[string]func(b *Backend, offset, length int64) error{
		"as the core calls it": func(b *Backend, offset, length int64) error {
			return execute(b, bdev.OpWriteZeroes, offset, length)
		},
		"with plain writes": func(b *Backend, offset, length int64) error {
			if errno := b.writeZeroBytes(offset, length); errno != 0 {
				return errno
			}
			return nil
		},
	}
	for name, zero := range ways {
		t.Run(name, func(t *testing.T) {
			b := newImage(t, Options{})
			q := openQueue(t, b)
			data := randomBuffer(t, 4<<20, 4)
			for at := 0; at < len(data); at += 1 << 20 {
				do(t, q, bdev.OpWrite, int64(at), data[at:at+1<<20])
			}
			require.NoError(t, zero(b, testBlock, 3<<20))
			want := append([]byte(nil), data...)
			clear(want[testBlock : testBlock+3<<20])
			got := alignedBuffer(t, len(data))
			for at := 0; at < len(got); at += 1 << 20 {
				do(t, q, bdev.OpRead, int64(at), got[at:at+1<<20])
			}
			require.Equal(t, want, got)
		})
	}
}

func TestAllocateReservesAndKeeps(t *testing.T) {
	b := newImage(t, Options{})
	q := openQueue(t, b)
	data := randomBuffer(t, testBlock, 5)
	do(t, q, bdev.OpWrite, 0, data)
	require.NoError(t, execute(b, bdev.OpAllocate, 0, 1<<20))
	require.GreaterOrEqual(t, hostBytes(t, b), int64(1<<20))
	got := alignedBuffer(t, testBlock)
	do(t, q, bdev.OpRead, 0, got)
	require.Equal(t, data, got)
	do(t, q, bdev.OpRead, testBlock, got)
	require.Equal(t, make([]byte, testBlock), got)
}

func TestUnknownOperation(t *testing.T) {
	require.ErrorIs(t, execute(newImage(t, Options{}), bdev.OpCopy, 0, testBlock), bdev.ErrUnsupported)
}

func TestErrnoIsKept(t *testing.T) {
	for errno, want := range map[unix.Errno]error{
		unix.ENOSPC: bdev.ErrNoSpace, unix.EDQUOT: bdev.ErrNoSpace, unix.EIO: bdev.ErrIO, unix.EROFS: bdev.ErrReadOnly,
		unix.EOPNOTSUPP: bdev.ErrUnsupported, unix.EINVAL: bdev.ErrIO,
	} {
		err := transferError(&iocb{nbytes: 4096}, -int64(errno))
		require.ErrorIs(t, err, want)
		require.ErrorIs(t, err, errno)
	}
	b := newImage(t, Options{})
	require.NoError(t, unix.Close(b.fd))
	b.fd = -1
	err := execute(b, bdev.OpFlush, 0, 0)
	require.ErrorIs(t, err, bdev.ErrIO)
	require.ErrorIs(t, err, unix.EBADF)
	require.ErrorIs(t, execute(b, bdev.OpUnmap, 0, testBlock), unix.EBADF)
	require.ErrorIs(t, execute(b, bdev.OpWriteZeroes, 0, testBlock), unix.EBADF)
	require.ErrorIs(t, execute(b, bdev.OpAllocate, 0, testBlock), unix.EBADF)
}

// TestHostFull fills a small file system under a sparse image.
func TestHostFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting needs privileges: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	b := openImage(t, filepath.Join(dir, "image"), Options{Create: true, Size: testSize})
	q := openQueue(t, b)
	r := transfer(bdev.OpWrite, 0, randomBuffer(t, 2<<20, 6))
	runAll(t, q, r)
	require.ErrorIs(t, r.Err(), bdev.ErrNoSpace)
	require.ErrorIs(t, r.Err(), unix.ENOSPC)
	require.ErrorIs(t, execute(b, bdev.OpAllocate, 0, 2<<20), bdev.ErrNoSpace)

	require.NoError(t, execute(b, bdev.OpUnmap, 0, testSize))
	do(t, q, bdev.OpWrite, 4<<20, randomBuffer(t, 256<<10, 6))
}

// TestBlockDevice runs on a loop device, where the system lets it make one.
func TestBlockDevice(t *testing.T) {
	device, detach := loopDevice(t)
	b := openImage(t, device, Options{})
	p := b.Properties()
	require.False(t, p.Sparse)
	require.EqualValues(t, testSize, p.BlockCount*int64(p.BlockSize))
	_, err := Open(device, Options{})
	require.ErrorIs(t, err, bdev.ErrInUse)
	_, err = Open(device, Options{ReadOnly: true})
	require.ErrorIs(t, err, bdev.ErrInUse)
	verifyIO(t, b)

	q := openQueue(t, b)
	data, got := randomBuffer(t, 1<<20, 8), alignedBuffer(t, 1<<20)
	do(t, q, bdev.OpWrite, 0, data)
	require.NoError(t, execute(b, bdev.OpWriteZeroes, 64<<10, 64<<10))
	require.NoError(t, execute(b, bdev.OpUnmap, 512<<10, 64<<10))
	require.NoError(t, execute(b, bdev.OpAllocate, 0, 1<<20))
	do(t, q, bdev.OpRead, 0, got)
	require.Equal(t, data[:64<<10], got[:64<<10])
	require.Equal(t, make([]byte, 64<<10), got[64<<10:128<<10])
	require.NoError(t, b.Resize(testSize))
	require.ErrorIs(t, b.Resize(2*testSize), bdev.ErrUnsupported)
	require.NoError(t, b.Close())
	_, err = Open(device, Options{Size: 2 * testSize})
	require.ErrorIs(t, err, bdev.ErrInvalid)
	detach()
}

// loopDevice attaches an image of testSize bytes to a free loop device.
func loopDevice(t *testing.T) (name string, detach func()) {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no loop devices: %v", err)
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Skipf("no loop device is free: %v", err)
	}
	image, err := os.Create(filepath.Join(t.TempDir(), "loop"))
	require.NoError(t, err)
	defer image.Close()
	require.NoError(t, image.Truncate(testSize))
	name = filepath.Join("/dev", "loop"+strconv.Itoa(number))
	loop, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no loop devices: %v", err)
	}
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(image.Fd())); err != nil {
		loop.Close()
		t.Skipf("no loop device can be attached: %v", err)
	}
	detach = func() {
		unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0)
		loop.Close()
	}
	t.Cleanup(detach)
	return name, detach
}
