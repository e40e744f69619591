package vfiouser

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// mapped is a client's memory: a page that is read and written, a page next to it that is read alone, a page behind a hole that is
// reached by messages, one next to that which is written alone, and the top page of all addresses.
func mapped(t *testing.T) (*hostMemory, []byte) {
	t.Helper()
	fd, file, err := makeShared(4*int(pageSize), false)
	require.NoError(t, err)
	m := &hostMemory{}
	t.Cleanup(func() {
		require.NoError(t, errors.Join(m.removeAll(), unix.Close(fd), unix.Munmap(file)))
	})
	const rw = wire.DMAReadable | wire.DMAWriteable
	require.NoError(t, m.add(wire.DMAMap{Flags: wire.DMAReadable, Address: 2 * pageSize, Offset: pageSize, Size: pageSize}, fd))
	require.NoError(t, m.add(wire.DMAMap{Flags: rw, Address: pageSize, Size: pageSize}, fd))
	require.NoError(t, m.add(wire.DMAMap{Flags: rw, Address: 5 * pageSize, Size: pageSize}, -1))
	require.NoError(t, m.add(wire.DMAMap{Flags: wire.DMAWriteable, Address: 6 * pageSize, Offset: 2 * pageSize, Size: pageSize}, fd))
	require.NoError(t, m.add(wire.DMAMap{Flags: rw, Address: -pageSize - pageSize, Offset: 3 * pageSize, Size: pageSize}, fd))
	return m, file
}

// TestSliceOfHost is memory of one map, of the right kind, or nothing.
func TestSliceOfHost(t *testing.T) {
	m, file := mapped(t)
	n := int(pageSize)
	for _, c := range []struct {
		iova  uint64
		n     int
		write bool
		at    int // in the file, -1: nothing
	}{
		{pageSize, n, true, 0}, {pageSize, n + 1, false, -1}, {pageSize + 1, n, false, -1}, {pageSize + 8, n - 8, true, 8},
		{pageSize - 1, 1, false, -1}, {2*pageSize - 1, 1, true, n - 1}, {2*pageSize - 1, 2, false, -1}, {2 * pageSize, n, false, n},
		{2 * pageSize, 1, true, -1}, {3 * pageSize, 1, false, -1}, {4*pageSize + 1, 1, false, -1}, {5 * pageSize, 8, false, -1},
		{6 * pageSize, 8, true, 2 * n}, {6 * pageSize, 8, false, -1}, {7 * pageSize, 1, true, -1}, {-pageSize - pageSize, n, true, 3 * n},
		{-pageSize, 1, true, -1}, {-pageSize - 1, 2, true, -1}, {1<<64 - 1, 2, true, -1}, {pageSize, -1, true, -1}, {0, 8, false, -1},
	} {
		got := m.Slice(c.iova, c.n, c.write)
		if c.at < 0 {
			require.Nil(t, got, "%+v", c)
			continue
		}
		require.Len(t, got, c.n, "%+v", c)
		require.Equal(t, c.n, cap(got))
		file[c.at]++
		require.Equal(t, file[c.at], got[0], "%+v", c)
	}
	require.True(t, m.Remote(5*pageSize, n, true) && m.Remote(5*pageSize, 0, false))
	require.False(t, m.Remote(5*pageSize, n+1, true) || m.Remote(pageSize, 1, true) || m.Remote(4*pageSize, 1, true))
}

// TestRemoteOfHost: what a controller writes to a copy of is read first.
func TestRemoteOfHost(t *testing.T) {
	for flags, want := range map[uint32][2]bool{ // to read, to write
		wire.DMAReadable: {true, false}, wire.DMAWriteable: {false, false}, wire.DMAReadable | wire.DMAWriteable: {true, true},
	} {
		m := &hostMemory{}
		require.NoError(t, m.add(wire.DMAMap{Flags: flags, Address: pageSize, Size: pageSize}, -1))
		require.Equal(t, want, [2]bool{m.Remote(pageSize, 8, false), m.Remote(pageSize, 8, true)}, "flags %d", flags)
	}
}

// TestUnmappedOfHost: nothing reaches memory that was unmapped, though it was used last, and what is left is found where it moved to.
func TestUnmappedOfHost(t *testing.T) {
	m, file := mapped(t)
	file[3*pageSize] = 42
	require.NotNil(t, m.Slice(pageSize, 1, true))
	require.NotNil(t, m.Slice(-pageSize-pageSize, 1, true))
	require.NoError(t, m.remove(pageSize, pageSize))
	require.Nil(t, m.Slice(pageSize, 1, true))
	require.Equal(t, []byte{42}, m.Slice(-pageSize-pageSize, 1, true))
	require.NoError(t, m.removeAll())
	require.Nil(t, m.Slice(-pageSize-pageSize, 1, true))
	require.ErrorIs(t, m.Read(2*pageSize, make([]byte, 1)), errNotMapped)
	require.NoError(t, m.removeAll(), "nothing is left")
}

// TestFilesOfHost: a map asks no more of a file than it says, and is whole pages in memory as in the file.
func TestFilesOfHost(t *testing.T) {
	fd, file, err := makeShared(int(pageSize), false)
	require.NoError(t, err)
	readOnly, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	m := &hostMemory{}
	require.NoError(t, m.add(wire.DMAMap{Flags: wire.DMAReadable, Address: pageSize, Size: pageSize}, readOnly))
	require.ErrorIs(t, m.add(wire.DMAMap{Flags: wire.DMAReadable | wire.DMAWriteable, Address: 2 * pageSize, Size: pageSize}, readOnly), unix.EACCES)
	require.ErrorIs(t, m.add(wire.DMAMap{Flags: wire.DMAReadable, Address: 2*pageSize + 8, Size: pageSize}, fd), unix.EINVAL)
	require.ErrorIs(t, m.add(wire.DMAMap{Flags: wire.DMAReadable, Address: 2 * pageSize, Size: pageSize - 8}, fd), unix.EINVAL)
	require.NoError(t, errors.Join(m.removeAll(), unix.Close(readOnly), unix.Close(fd), unix.Munmap(file)))
}

// TestCopyOfHost goes over maps that follow each other, and stops at a hole, at one of the wrong kind and at a client that refuses.
func TestCopyOfHost(t *testing.T) {
	m, file := mapped(t)
	type access struct {
		write bool
		iova  uint64
		n     int
	}
	var asked []access
	answer := error(nil)
	m.remote = func(write bool, iova uint64, p []byte) error {
		asked = append(asked, access{write, iova, len(p)})
		return answer
	}
	file[pageSize-1], file[pageSize] = 7, 8
	got := make([]byte, 2)
	require.NoError(t, m.Read(2*pageSize-1, got))
	require.Equal(t, []byte{7, 8}, got)
	require.ErrorIs(t, m.Write(2*pageSize-1, got), errNotMapped, "the second page is read alone")
	require.ErrorIs(t, m.Read(3*pageSize-1, got), errNotMapped, "a hole")
	require.ErrorIs(t, m.Read(6*pageSize-1, got), errNotMapped, "the second page is written alone")
	require.NoError(t, m.Write(6*pageSize-1, []byte{1, 9}))
	require.EqualValues(t, 9, file[2*pageSize])
	require.Equal(t, []access{{false, 6*pageSize - 1, 1}, {true, 6*pageSize - 1, 1}}, asked)
	answer = errRefused
	require.ErrorIs(t, m.Write(6*pageSize-1, []byte{1, 2}), errRefused)
	require.EqualValues(t, 9, file[2*pageSize], "nothing after that")
}

// TestMapsOfHost do not overlap, and end as they began.
func TestMapsOfHost(t *testing.T) {
	m, _ := mapped(t)
	for _, c := range []struct {
		start, size uint64
		want        error
	}{
		{0, pageSize, nil}, {0, pageSize, unix.EEXIST}, {3 * pageSize, 2 * pageSize, nil}, {7 * pageSize, pageSize, nil},
		{7*pageSize + 1, 8, unix.EEXIST}, {8*pageSize - 1, 8, unix.EEXIST}, {8 * pageSize, 8, nil}, {9 * pageSize, -pageSize - 9*pageSize, unix.EEXIST},
	} {
		err := m.add(wire.DMAMap{Flags: wire.DMAReadable, Address: c.start, Size: c.size}, -1)
		require.ErrorIs(t, err, c.want, "%+v", c)
	}
	for _, c := range []struct {
		start, size uint64
		want        error
	}{{pageSize, pageSize - 1, unix.ENOENT}, {pageSize + 1, pageSize - 1, unix.ENOENT}, {pageSize, 2 * pageSize, unix.ENOENT}, {pageSize, pageSize, nil},
		{pageSize, pageSize, unix.ENOENT}, {8 * pageSize, 8, nil}} {
		require.ErrorIs(t, m.remove(c.start, c.size), c.want, "%+v", c)
	}
	require.Nil(t, m.Slice(pageSize, 1, false))
	require.NotNil(t, m.Slice(2*pageSize, 1, false))
	for i := len(m.regions); i < maxMaps; i++ {
		require.NoError(t, m.add(wire.DMAMap{Flags: wire.DMAReadable, Address: 1<<40 + uint64(i), Size: 1}, -1))
	}
	require.ErrorIs(t, m.add(wire.DMAMap{Address: 1 << 50, Size: 1}, -1), unix.ENOSPC)
}

// TestServerReadsAndWrites by messages what it was given, and nothing beside it.
func TestServerReadsAndWrites(t *testing.T) {
	mem := newMemoryTable()
	b := make([]byte, 4096)
	require.NoError(t, mem.add(1<<20, region{bytes: b}))
	for _, c := range []struct {
		iova, n uint64
		want    unix.Errno
	}{
		{1 << 20, 4096, 0}, {1<<20 + 4095, 1, 0}, {1<<20 + 4095, 2, unix.EFAULT}, {1<<20 - 1, 1, unix.EFAULT}, {1<<20 - 1, 2, unix.EFAULT},
		{1<<20 + 4096, 1, unix.EFAULT}, {1<<64 - 9, 8, unix.EFAULT}, {1 << 20, 4097, unix.EFAULT},
	} {
		for _, cmd := range []wire.Command{wire.CmdDMARead, wire.CmdDMAWrite} {
			a := wire.DMAAccess{Address: c.iova, Count: c.n}
			if cmd == wire.CmdDMAWrite {
				a.Data = make([]byte, c.n)
				a.Data[0] = 5
			}
			b[0], b[4095] = 1, 2
			reply, errno := mem.serve(&message{Header: wire.Header{Command: cmd}, payload: a.Append(nil)}, nil)
			require.Equal(t, c.want, errno, "%v %+v", cmd, c)
			switch {
			case errno != 0:
				require.Equal(t, [2]byte{1, 2}, [2]byte{b[0], b[4095]})
			case cmd == wire.CmdDMAWrite:
				require.EqualValues(t, 5, b[c.iova-1<<20])
				require.Len(t, reply, 16, "nothing is sent back")
			default:
				got, err := wire.ParseDMAAccess(reply, true)
				require.NoError(t, err)
				require.Equal(t, b[c.iova-1<<20:][:c.n], got.Data)
			}
		}
	}
	_, errno := mem.serve(&message{Header: wire.Header{Command: wire.CmdReset}}, nil)
	require.Equal(t, unix.ENOTSUP, errno)
}
