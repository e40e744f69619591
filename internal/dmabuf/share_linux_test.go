package dmabuf

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestShareFile wants no peer to be able to take memory from under this process, and a limit to be said when sharing begins.
func TestShareFile(t *testing.T) {
	fd, err := makeShareFile()
	require.NoError(t, err)
	for _, size := range []int64{0, shareSize / 2, shareSize + 4096} {
		require.ErrorIs(t, unix.Ftruncate(fd, size), unix.EPERM)
	}
	require.NoError(t, unix.Close(fd))

	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 40, Max: old.Max}))
	_, err = makeShareFile()
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old))
	require.ErrorIs(t, err, unix.EFBIG)
	require.ErrorContains(t, err, "ulimit -f")
}

// TestBacking maps a buffer a second time through what Backing says and sees the same bytes.
func TestBacking(t *testing.T) {
	p := NewPool(16 << 20)
	old := p.Get(4096)
	p.Put(p.Get(8192)) // idle when sharing begins
	_, _, ok := Backing(old)
	require.False(t, ok || shared.on.Load(), "memory from before MakeShareable")
	require.NoError(t, MakeShareable())
	require.NoError(t, MakeShareable(), "a second time")

	small, big := p.Get(4096), p.Get(MaxClass)
	once := p.Get(8192)
	_, _, ok = Backing(once)
	require.True(t, ok, "an idle buffer from before MakeShareable was handed out")
	p.Put(once)
	p.Put(old)
	old = p.Get(4096)
	_, _, ok = Backing(old)
	require.True(t, ok, "so was one that came back after it")
	for _, b := range [][]byte{small, big, big[8192:12288]} {
		fill(b, 7)
		fd, offset, ok := Backing(b)
		require.True(t, ok)
		again, err := unix.Mmap(fd, offset, len(b), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.NoError(t, err)
		require.Equal(t, b, again)
		fill(again, 9)
		require.Equal(t, again, b, "the other way round")
		require.NoError(t, unix.Munmap(again))
	}
	_, _, ok = Backing(make([]byte, 4096))
	require.False(t, ok)

	fd, offset, _ := Backing(small)
	for _, b := range [][]byte{old, small, big} {
		p.Put(b)
	}
	require.NoError(t, p.Close())
	require.Empty(t, shared.regions)
	again, err := unix.Mmap(fd, offset, 4096, unix.PROT_READ, unix.MAP_SHARED)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 4096), again, "the memory went back to the system")
	require.NoError(t, unix.Munmap(again))
}
