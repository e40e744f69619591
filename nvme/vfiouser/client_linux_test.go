package vfiouser

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

func open(t *testing.T, v *served) *Client {
	t.Helper()
	c, err := Open(v.dir, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestRegisters(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	require.Equal(t, v.dir, c.Name())
	v64, err := c.Load64(regCap)
	require.NoError(t, err)
	require.EqualValues(t, uint64(fakeCap), v64)
	v32, err := c.Load32(regCap + 4)
	require.NoError(t, err)
	require.EqualValues(t, 0x01020304, v32)

	require.NoError(t, c.Store64(0x100, 0x1122334455667788))
	require.NoError(t, c.Store32(0x104, 0x99))
	v64, err = c.Load64(0x100)
	require.NoError(t, err)
	require.EqualValues(t, 0x0000009955667788, v64)

	for _, offset := range []uint32{0x101, 0xff8, 8192, 1 << 31} {
		_, err = c.Load64(offset)
		require.ErrorIs(t, err, unix.EINVAL, "offset %#x", offset)
		require.NotErrorIs(t, err, nvme.ErrGone)
	}
	require.EqualValues(t, pciCommandMemory|pciCommandMaster, v.readConfig(t, c, pciCommand)&(pciCommandMemory|pciCommandMaster))
	_, err = Open(filepath.Join(v.dir, "nobody"), Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func (v *served) readConfig(t *testing.T, c *Client, at uint64) uint32 {
	t.Helper()
	var b [4]byte
	require.NoError(t, c.read(wire.RegionConfig, at, b[:]))
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// TestConfigSpace reads it the way a host enumerates a PCI device.
func TestConfigSpace(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	require.EqualValues(t, 0x56781234, v.readConfig(t, c, pciVendor))
	require.EqualValues(t, nvmeClass, v.readConfig(t, c, pciRevision)>>8)
	for at, want := range map[uint64]uint32{pciBAR0: ^uint32(8191) | 4, pciBAR0 + 4: ^uint32(0), pciBAR0 + 8: 0, pciBAR0 + 4*msixBAR: ^uint32(msixBARSize - 1)} {
		require.NoError(t, c.write(wire.RegionConfig, at, []byte{0xff, 0xff, 0xff, 0xff}))
		require.Equal(t, want, v.readConfig(t, c, at), "size of the BAR at %#x", at)
	}
	require.NoError(t, c.write(wire.RegionConfig, pciVendor, []byte{1, 2, 3, 4}))
	require.EqualValues(t, 0x56781234, v.readConfig(t, c, pciVendor), "read-only")
	at, err := c.findCapability(pciCapMSIX)
	require.NoError(t, err)
	require.EqualValues(t, 2, v.readConfig(t, c, at)>>16&pciMSIXTableSize, "one less than the vectors")

	require.NoError(t, c.Store32(0x100, 7))
	resets := v.fake.resets.Load()
	require.NoError(t, c.write(wire.RegionConfig, expressDevControl, []byte{0, 0x80}))
	require.Equal(t, resets+1, v.fake.resets.Load(), "function level reset")
	v32, err := c.Load32(0x100)
	require.NoError(t, err)
	require.Zero(t, v32)
}

func TestDMA(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	r := newRing(t, c)
	a, err := c.Alloc(100)
	require.NoError(t, err)
	require.Len(t, a.Bytes, 100)
	b, err := c.Alloc(3 << 20)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 3<<20), b.Bytes)
	for i := range 1000 {
		_, err := rand.Read(a.Bytes)
		require.NoError(t, err)
		at := i * 3000
		require.EqualValues(t, statusDone, r.copy(t, a.IOVA, b.IOVA+uint64(at), 100))
		require.Equal(t, a.Bytes, b.Bytes[at:at+100])
	}
	require.EqualValues(t, statusFault, r.copy(t, a.IOVA, b.IOVA+3<<20-50, 100), "over the end")
	require.EqualValues(t, statusFault, r.copy(t, a.IOVA, ^uint64(0)-10, 100))

	require.NoError(t, c.Free(b))
	require.EqualValues(t, statusFault, r.copy(t, a.IOVA, b.IOVA, 100), "after Free")
	require.ErrorIs(t, c.Free(b), unix.EINVAL)
	_, err = c.Alloc(0)
	require.ErrorIs(t, err, unix.EINVAL)

}

// TestMapOfManyBuffers: servers take few maps, SPDK's 64.
func TestMapOfManyBuffers(t *testing.T) {
	require.NoError(t, dmabuf.MakeShareable())
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	r := newRing(t, c)
	pool := dmabuf.NewPool(16 << 20)
	before := v.Stats().Messages
	var buffers [][]byte
	var iovas []uint64
	for i := range 200 {
		b := pool.Get(4096)
		iova, err := c.Map(b)
		require.NoError(t, err)
		b[0] = byte(i)
		buffers, iovas = append(buffers, b), append(iovas, iova)
	}
	require.LessOrEqual(t, v.Stats().Messages-before, uint64(2), "messages for 200 buffers")
	last := len(buffers) - 1
	for i := range last {
		require.EqualValues(t, statusDone, r.copy(t, iovas[i], iovas[last], 4096))
		require.EqualValues(t, i, buffers[last][0])
		require.NoError(t, c.Unmap(buffers[i]))
	}
	require.EqualValues(t, statusDone, r.copy(t, iovas[last], iovas[last]+2048, 2048), "others are unmapped")
	require.NoError(t, c.Unmap(buffers[last]))
	require.EqualValues(t, statusFault, r.copy(t, iovas[last], iovas[last], 4096), "all are unmapped")
	for _, b := range buffers {
		pool.Put(b)
	}
	require.NoError(t, pool.Close())
}

func TestMap(t *testing.T) {
	require.NoError(t, dmabuf.MakeShareable())
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	r := newRing(t, c)
	pool := dmabuf.NewPool(16 << 20)
	b := pool.Get(8192)
	iova, err := c.Map(b)
	require.NoError(t, err)
	_, err = c.Map(b)
	require.ErrorIs(t, err, unix.EEXIST)
	copy(b, "what the caller has written")
	require.EqualValues(t, statusDone, r.copy(t, iova, iova+4096, 4096))
	require.Equal(t, b[:4096], b[4096:])
	require.ErrorIs(t, c.Unmap(b[:4096]), unix.EINVAL)
	require.NoError(t, c.Unmap(b))
	require.EqualValues(t, statusFault, r.copy(t, iova, iova+4096, 4096), "after Unmap")

	region, err := dmabuf.NewRegion(8192)
	require.NoError(t, err)
	_, err = c.Map(region.Bytes())
	require.ErrorIs(t, err, nvme.ErrNotShareable)
	require.NoError(t, region.Free())
	_, err = c.Map(b[1:])
	require.ErrorIs(t, err, nvme.ErrNotShareable)

	iova, err = c.Map(b)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Unmap(b), unix.EINVAL, "Close has ended it, and %#x means nothing any more", iova)
	pool.Put(b)
	require.NoError(t, pool.Close())
}

func TestInterrupt(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	r := newRing(t, c)
	require.Equal(t, 3, c.Vectors())
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	defer unix.Close(fd)
	var b [8]byte
	signalled := func() bool {
		n, err := unix.Read(fd, b[:])
		require.True(t, n == 8 || err == unix.EAGAIN, "%d bytes, %v", n, err)
		return n == 8
	}
	a, err := c.Alloc(4096)
	require.NoError(t, err)
	turn := func() { // a message afterwards orders the interrupt before our look
		require.EqualValues(t, statusDone, r.copy(t, a.IOVA, a.IOVA+2048, 64))
		_, err := c.Load32(0)
		require.NoError(t, err)
	}
	turn()
	require.False(t, signalled())
	require.NoError(t, c.Interrupt(1, fd))
	turn()
	require.True(t, signalled())
	require.NoError(t, c.Interrupt(1, -1))
	turn()
	require.False(t, signalled(), "after it was ended")
	require.ErrorIs(t, c.Interrupt(3, fd), nvme.ErrUnsupported)

	require.NoError(t, c.Interrupt(1, fd))
	_, err = unix.Write(fd, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) // as full as it gets
	require.NoError(t, err)
	turn()
	require.True(t, signalled(), "a full eventfd does not stop the server")

	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	require.ErrorIs(t, c.Interrupt(1, int(f.Fd())), unix.EINVAL, "no eventfd")
	require.NoError(t, f.Close())
}

func TestReset(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	r := newRing(t, c)
	a, err := c.Alloc(4096)
	require.NoError(t, err)
	require.EqualValues(t, statusDone, r.copy(t, a.IOVA, a.IOVA+2048, 64))
	require.NoError(t, c.Reset())
	v32, err := c.Load32(regCC)
	require.NoError(t, err)
	require.Zero(t, v32)
	require.Zero(t, *r.door, "doorbells start at zero")
	require.NotZero(t, v.readConfig(t, c, pciCommand)&pciCommandMaster, "the client goes on as before")
	r = newRing(t, c)
	require.EqualValues(t, statusDone, r.copy(t, a.IOVA, a.IOVA+2048, 64), "memory stays mapped")
}

// TestUseAfterClose has every method fail as it should.
func TestUseAfterClose(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	m, err := c.Alloc(4096)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	_, err = c.Load32(0)
	require.ErrorIs(t, err, nvme.ErrGone)
	require.ErrorIs(t, c.Store64(0, 0), nvme.ErrGone)
	_, err = c.Alloc(4096)
	require.ErrorIs(t, err, nvme.ErrGone)
	require.ErrorIs(t, c.Reset(), nvme.ErrGone)
	require.ErrorIs(t, c.Interrupt(0, 0), nvme.ErrGone)
	require.Nil(t, c.Window(barRegisters, 4))
	require.Error(t, c.Free(m))
}

// TestOneClient refuses the second one, and gives the controller, reset, to the next one after the first.
func TestOneClient(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	first := open(t, v)
	require.NoError(t, first.Store32(0x100, 7))
	_, err := Open(v.dir, Options{})
	require.ErrorIs(t, err, ErrInUse)
	require.EqualValues(t, 1, v.Stats().Refused)
	v32, err := first.Load32(0x100)
	require.NoError(t, err)
	require.EqualValues(t, 7, v32, "the first one noticed nothing")

	require.NoError(t, first.Close())
	v.wait(t, "client gone")
	next, err := Open(v.Path(), Options{})
	require.NoError(t, err, "by the path of the socket")
	v32, err = next.Load32(0x100)
	require.NoError(t, err)
	require.Zero(t, v32, "the controller was reset")
	require.NoError(t, next.Close())
}

// TestStop ends the server under its client.
func TestStop(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	r := newRing(t, c)
	v.stop()
	_, err := c.Load32(0)
	require.ErrorIs(t, err, nvme.ErrGone)
	require.NotNil(t, r.door) // the memory is there until Close
	*r.door = 1
}

func TestFolder(t *testing.T) {
	checkFDs(t)
	dir := t.TempDir()
	socket := filepath.Join(dir, socketName)
	require.NoError(t, os.WriteFile(socket, []byte("a letter"), 0o600))
	_, err := Listen(dir, newFake(), ServerOptions{})
	require.ErrorIs(t, err, fs.ErrExist)
	require.FileExists(t, socket)
	require.NoError(t, os.Remove(socket))

	// A dead server leaves its socket.
	stale, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(stale, &unix.SockaddrUnix{Name: socket}))
	require.NoError(t, unix.Close(stale))
	_, err = Open(dir, Options{})
	require.ErrorIs(t, err, nvme.ErrGone)
	s, err := Listen(dir, newFake(), ServerOptions{})
	require.NoError(t, err)
	_, err = Listen(dir, newFake(), ServerOptions{})
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, s.Close())
	require.NoFileExists(t, socket)

	// A living one of another program, which knows nothing of our lock.
	other, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(other, &unix.SockaddrUnix{Name: socket}))
	require.NoError(t, unix.Listen(other, 1))
	_, err = Listen(dir, newFake(), ServerOptions{})
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, unix.Close(other))

	_, err = Listen(filepath.Join(dir, "a", "b"), newFake(), ServerOptions{})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestNoServer opens what is not served: the error says which, and what to do.
func TestNoServer(t *testing.T) {
	checkFDs(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, text := range map[string]string{
		dir:                          "no server has its socket there",
		filepath.Join(dir, "nobody"): "no server has its socket there",
		filepath.Join(file, "cntrl"): "no server has its socket there",
		file:                         "no socket of a server",
	} {
		_, err := Open(name, Options{})
		require.ErrorIs(t, err, fs.ErrNotExist, name)
		require.ErrorContains(t, err, text, name)
		require.ErrorContains(t, err, "bdev export DEVICE --vfio-user", name)
	}
	_, err := Listen(file, newFake(), ServerOptions{})
	require.ErrorIs(t, err, unix.ENOTDIR)
	require.ErrorContains(t, err, "opening the folder of the socket")
	require.ErrorIs(t, explain(file, unix.EACCES), ErrPermission)
}

// TestTooManyOpenFiles: a peer whose descriptors this process may not take has done nothing wrong.
func TestTooManyOpenFiles(t *testing.T) {
	checkFDs(t)
	a, b := pair(t)
	from, to := newSocket(a), newSocket(b)
	version := raw(1, wire.CmdVersion, 0, nothing{})
	require.NoError(t, from.send(version, []int{a, b}, time.Now().Add(time.Second)))
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	next, err := unix.Dup(a)
	require.NoError(t, err)
	require.NoError(t, unix.Close(next))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next) + 1, Max: limit.Max}))
	_, err = to.receive(time.Time{}, time.Second, -1)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	require.ErrorIs(t, err, unix.EMFILE)
	require.NotErrorIs(t, err, ErrProtocol)
	require.ErrorContains(t, err, "ulimit -n")

	many := slices.Repeat([]int{a}, wire.MaxFDs+1)
	require.NoError(t, to.send(version, many, time.Now().Add(time.Second)))
	_, err = from.receive(time.Time{}, time.Second, -1)
	require.ErrorIs(t, err, ErrProtocol)
	require.NoError(t, errors.Join(from.close(), to.close()))
}

// TestLongPath uses a folder whose name does not fit the address of a socket.
func TestLongPath(t *testing.T) {
	checkFDs(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	s, err := Listen(dir, newFake(), ServerOptions{})
	require.NoError(t, err)
	fd, err := connect(t.Context(), s.Path(), time.Now())
	require.NoError(t, err)
	require.NoError(t, unix.Close(fd))
	require.NoError(t, s.Close())
	require.NoFileExists(t, s.Path())
}

// TestRemoteMemory maps memory without a descriptor: the server reads and writes it by messages, also the ring itself.
func TestRemoteMemory(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	away, err := dmabuf.NewRegion(64 << 10)
	require.NoError(t, err)
	mem := away.Bytes()
	iova := addressOf(mem)
	require.NoError(t, c.memory.add(iova, region{bytes: mem}))
	for _, half := range []uint64{0, 32 << 10} { // two maps, and a copy over their border
		m := wire.DMAMap{Flags: wire.DMAReadable | wire.DMAWriteable, Address: iova + half, Size: 32 << 10}
		_, err := c.call(wire.CmdDMAMap, &m, nil)
		require.NoError(t, err)
	}
	r := newRing(t, c)
	copy(mem[100:], "some text")
	require.EqualValues(t, statusDone, r.copy(t, iova+100, iova+32<<10-4, 9))
	require.Equal(t, "some text", string(mem[32<<10-4:][:9]))
	c.memory.remove(iova)
	require.EqualValues(t, statusFault, r.copy(t, iova+100, iova+200, 9), "the client refuses")
	_, err = c.Load32(0)
	require.NoError(t, err, "which ends nothing")
	_, err = c.call(wire.CmdDMAUnmap, &wire.DMAUnmap{Flags: wire.UnmapAll}, nil)
	require.NoError(t, err)
	require.NoError(t, away.Free())
}

// TestShrunkMemory cuts the file of mapped memory short: the session ends, the server goes on.
func TestShrunkMemory(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	r := newRing(t, c)
	fd, err := unix.MemfdCreate("short", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, 4096))
	m := wire.DMAMap{Flags: wire.DMAReadable | wire.DMAWriteable, Address: 1 << 20, Size: 8192}
	_, err = c.call(wire.CmdDMAMap, &m, []int{fd})
	require.ErrorIs(t, err, unix.EINVAL, "larger than its file")
	m.Size = 4096
	_, err = c.call(wire.CmdDMAMap, &m, []int{fd})
	require.NoError(t, err)
	require.NoError(t, unix.Ftruncate(fd, 0))
	r.start(1<<20, 1<<20+2048, 64)
	require.Contains(t, v.wait(t, "client gone"), "not there any more")
	_, err = c.Load32(0)
	require.ErrorIs(t, err, nvme.ErrGone)
	open(t, v)
}

// TestWindowsThatMayGo: only a file that was sealed keeps its size. One that is too short already is not mapped.
func TestWindowsThatMayGo(t *testing.T) {
	c := open(t, serve(t, newFake(), ServerOptions{}))
	require.NotNil(t, c.Window(barRegisters, 4))
	require.False(t, c.Fragile(), "our server cannot cut its doorbells short")

	file, err := os.Create(filepath.Join(t.TempDir(), "bar0"))
	require.NoError(t, err)
	defer file.Close()
	bar := wire.RegionInfo{Size: 8192, Areas: []wire.Area{{Offset: 4096, Size: 4096}}}
	require.NoError(t, file.Truncate(8191))
	_, err = mapWindows(int(file.Fd()), &bar)
	require.ErrorIs(t, err, errShortFile)
	require.NoError(t, file.Truncate(8192))
	ws, err := mapWindows(int(file.Fd()), &bar)
	require.NoError(t, err)
	require.Len(t, ws, 1)
	require.NoError(t, unix.Munmap(ws[0].bytes))
	require.True(t, canShrink(int(file.Fd())), "a file on a disk")

	fd, err := unix.MemfdCreate("bar0", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	require.NoError(t, err)
	defer unix.Close(fd)
	for _, seal := range []int{0, unix.F_SEAL_GROW, unix.F_SEAL_SHRINK} {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seal)
		require.NoError(t, err)
		require.Equal(t, seal != unix.F_SEAL_SHRINK, canShrink(fd))
	}
}

// TestNoController has the device fail: that client is gone, the server goes on.
func TestNoController(t *testing.T) {
	fake := newFake()
	fake.refuses = errors.New("no controller today")
	v := serve(t, fake, ServerOptions{})
	_, err := Open(v.dir, Options{})
	require.ErrorIs(t, err, nvme.ErrGone)
	require.Contains(t, v.wait(t, "client gone"), "no controller today")
	_, err = Open(v.dir, Options{})
	require.ErrorIs(t, err, nvme.ErrGone)
}

// TestBadRequests sends well-formed commands that ask for nonsense. Each is refused by number, and the session goes on.
func TestBadRequests(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{})
	c := open(t, v)
	fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, 1<<20))
	rw := wire.DMAReadable | wire.DMAWriteable
	_, err = c.call(wire.CmdDMAMap, &wire.DMAMap{Flags: rw, Address: 1 << 20, Size: 8192}, []int{fd})
	require.NoError(t, err)
	for _, bad := range []struct {
		name    string
		cmd     wire.Command
		payload appender
		fds     []int
		want    unix.Errno
	}{
		{"map over a map", wire.CmdDMAMap, &wire.DMAMap{Flags: rw, Address: 1<<20 + 4096, Size: 8192}, []int{fd}, unix.EEXIST},
		{"map around a map", wire.CmdDMAMap, &wire.DMAMap{Flags: rw, Address: 1<<20 - 4096, Size: 1 << 20}, []int{fd}, unix.EEXIST},
		{"map of half a page", wire.CmdDMAMap, &wire.DMAMap{Flags: rw, Address: 2 << 20, Size: 100}, []int{fd}, unix.EINVAL},
		{"unmap of a part", wire.CmdDMAUnmap, &wire.DMAUnmap{Address: 1 << 20, Size: 4096}, nil, unix.ENOENT},
		{"short request", wire.CmdDMAMap, nothing{}, nil, unix.EINVAL},
		{"unknown region", wire.CmdRegionInfo, regionInfoRequest(9), nil, unix.EINVAL},
		{"region that is not there", wire.CmdRegionRead, &wire.RegionAccess{Region: 1, Count: 4}, nil, unix.EINVAL},
		{"region number too large", wire.CmdRegionRead, &wire.RegionAccess{Region: 1 << 31, Count: 4}, nil, unix.EINVAL},
		{"over the end", wire.CmdRegionRead, &wire.RegionAccess{Region: 7, Offset: 255, Count: 2}, nil, unix.EINVAL},
		{"too many vectors", wire.CmdSetIRQs, &wire.IRQSet{Flags: wire.IRQDataNone | wire.IRQTrigger, Index: 2, Start: 2, Count: 2}, nil, unix.EINVAL},
		{"other interrupts", wire.CmdSetIRQs, &wire.IRQSet{Flags: wire.IRQDataNone | wire.IRQTrigger, Index: 0, Count: 1}, nil, unix.EINVAL},
		{"kind of interrupt", wire.CmdIRQInfo, &wire.IRQInfo{Index: 5}, nil, unix.EINVAL},
		{"descriptors that do not match", wire.CmdSetIRQs, &wire.IRQSet{Flags: wire.IRQDataEventfd | wire.IRQTrigger, Index: 2, Count: 2}, []int{fd}, unix.EINVAL},
		{"no eventfd", wire.CmdSetIRQs, &wire.IRQSet{Flags: wire.IRQDataEventfd | wire.IRQTrigger, Index: 2, Count: 1}, []int{fd}, unix.EINVAL},
		{"map beyond its file", wire.CmdDMAMap, &wire.DMAMap{Flags: rw, Address: 2 << 20, Offset: 1<<20 - 4096, Size: 8192}, []int{fd}, unix.EINVAL},
		{"unwanted descriptors", wire.CmdReset, nothing{}, []int{fd, fd}, 0},
		{"migration", wire.CmdMigDataRead, nothing{}, nil, unix.ENOTSUP},
		{"unknown command", 999, nothing{}, nil, unix.ENOTSUP},
	} {
		_, err := c.call(bad.cmd, bad.payload, bad.fds)
		if bad.want == 0 {
			require.NoError(t, err, bad.name)
			continue
		}
		require.ErrorIs(t, err, bad.want, bad.name)
		require.NotErrorIs(t, err, nvme.ErrGone, bad.name)
	}
	reply, err := c.call(wire.CmdRegionIOFDs, &wire.DeviceInfo{}, nil)
	require.NoError(t, err)
	require.Len(t, reply.payload, 16)
	for _, set := range []wire.IRQSet{
		{Flags: wire.IRQDataNone | wire.IRQTrigger, Index: 2},
		{Flags: wire.IRQDataBool | wire.IRQTrigger, Index: 2, Count: 3, Bools: []byte{1, 0, 1}},
		{Flags: wire.IRQDataNone | wire.IRQMask, Index: 2, Count: 3},
	} {
		_, err := c.call(wire.CmdSetIRQs, &set, nil)
		require.NoError(t, err)
	}
	table := bytes.Repeat([]byte{0xab}, 48)
	require.NoError(t, c.write(msixBAR, 0, table))
	got := make([]byte, 48)
	require.NoError(t, c.read(msixBAR, 0, got))
	require.Equal(t, table, got)
}
