package vfiouser

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// pair is a connection with nobody at its ends yet.
func pair(t testing.TB) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	return fds[0], fds[1]
}

// raw is a message as it goes over the wire.
func raw(id uint16, cmd wire.Command, flags uint32, payload appender) []byte {
	return finish(payload.Append(frame(nil)), wire.Header{ID: id, Command: cmd, Flags: flags})
}

var goodVersion = &wire.Version{Minor: 1, Capabilities: wire.Capabilities{MaxFDs: 8, MaxTransfer: 1 << 20, MaxMaps: 64, PageSizes: 4096}}

var newVersion = &wire.Version{Major: 1, Capabilities: goodVersion.Capabilities}

// TestNonsenseServer answers the client's first messages wrongly. Open fails with ErrGone, within its timeout also when nothing comes.
func TestNonsenseServer(t *testing.T) {
	checkFDs(t)
	reply := wire.FlagReply
	for name, answers := range map[string][][]byte{
		"nothing":                    {},
		"the end":                    {nil},
		"half a header":              {{1, 2, 3}},
		"a header that is too short": {binary.LittleEndian.AppendUint32(make([]byte, 4), 15)},
		"a message too large":        {append([]byte{0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff}, make([]byte, 8)...)},
		"half a payload":             {raw(0, wire.CmdVersion, reply, goodVersion)[:20]},
		"another number":             {raw(9, wire.CmdVersion, reply, goodVersion)},
		"another command":            {raw(0, wire.CmdDMAMap, reply, goodVersion)},
		"a version without text":     {raw(0, wire.CmdVersion, reply, nothing{})},
		"a newer version":            {raw(0, wire.CmdVersion, reply, newVersion)},
		"commands of the server":     {raw(0, wire.CmdRegionRead, 0, nothing{}), raw(7, wire.CmdDMAWrite, wire.FlagNoReply, nothing{})},
		"two answers":                {append(raw(0, wire.CmdVersion, reply, goodVersion), raw(0, wire.CmdVersion, reply, goodVersion)...)},
		"a device of no kind":        {raw(0, wire.CmdVersion, reply, goodVersion), raw(1, wire.CmdDeviceInfo, reply, &wire.DeviceInfo{})},
		"a BAR of nothing": {raw(0, wire.CmdVersion, reply, goodVersion), raw(1, wire.CmdDeviceInfo, reply, &wire.DeviceInfo{Flags: 3, Regions: 9, IRQs: 5}),
			raw(2, wire.CmdRegionInfo, reply, &regionInfo{wire.RegionInfo{Size: 5}})},
		"an error": {raw(0, wire.CmdVersion, reply|wire.FlagError, nothing{})},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pair(t)
			go func() {
				s := newSocket(theirs)
				for _, b := range answers {
					if b == nil {
						s.shutdown()
					} else if _, err := s.receive(time.Now().Add(time.Second), time.Second, -1); err == nil {
						_ = s.send(b, nil, time.Now().Add(time.Second)) // the client may be gone
					}
				}
				for err := error(nil); err == nil; {
					_, err = s.receive(time.Time{}, time.Second, -1)
				}
				_ = s.close()
			}()
			_, err := newClient("it", ours, Options{Timeout: 100 * time.Millisecond})
			require.Error(t, err)
			if name != "an error" && name != "a newer version" && name != "a device of no kind" && name != "a BAR of nothing" {
				require.ErrorIs(t, err, nvme.ErrGone)
			}
		})
	}
	settle(t)
}

// TestSlowServer answers the first message late and no other: the time of Open is that of all its messages.
func TestSlowServer(t *testing.T) {
	const patience = time.Second
	ours, theirs := pair(t)
	go func() {
		s := newSocket(theirs)
		if _, err := s.receive(time.Now().Add(patience), patience, -1); err == nil {
			time.Sleep(patience / 2)
			_ = s.send(raw(0, wire.CmdVersion, wire.FlagReply, goodVersion), nil, time.Now().Add(patience)) // the client may be gone
		}
		for err := error(nil); err == nil; {
			_, err = s.receive(time.Time{}, patience, -1)
		}
		_ = s.close()
	}()
	_, err := newClient("it", ours, Options{Timeout: patience})
	require.ErrorIs(t, err, nvme.ErrGone)
	require.ErrorIs(t, err, nvme.ErrTimeout)
	settle(t)
}

// settle waits until no goroutine of a test holds a descriptor of a socket.
func settle(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return countSockets(t) == 0 }, 20*time.Second, time.Millisecond)
}

// regionInfo is a reply.
type regionInfo struct{ wire.RegionInfo }

func (r *regionInfo) Append(b []byte) []byte { return r.RegionInfo.Append(b, wire.RegionInfoRoom) }

// TestNonsenseClient sends the server what no client should. The session ends, with an answer where one is possible, and the next
// client is served.
func TestNonsenseClient(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{Timeout: 200 * time.Millisecond})
	version := raw(0, wire.CmdVersion, 0, goodVersion)
	fds := make([]int, wire.MaxFDs+1)
	for name, c := range map[string]struct {
		sent [][]byte
		fds  []int
		want string
	}{
		"nothing":                 {nil, nil, "it has ended the connection"},
		"half a header":           {[][]byte{{1, 2, 3}}, nil, "unexpected EOF"},
		"a message too large":     {[][]byte{append([]byte{0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff}, make([]byte, 8)...)}, nil, "malformed"},
		"no version":              {[][]byte{raw(0, wire.CmdReset, 0, nothing{})}, nil, "before the version"},
		"a bad version":           {[][]byte{raw(0, wire.CmdVersion, 0, nothing{})}, nil, "malformed"},
		"a newer version":         {[][]byte{raw(0, wire.CmdVersion, 0, newVersion)}, nil, "speaks version 1.0"},
		"no pages":                {[][]byte{raw(0, wire.CmdVersion, 0, &wire.Version{Capabilities: wire.Capabilities{MaxTransfer: 4096, MaxMaps: 1, PageSizes: 1 << 16}})}, nil, "no pages"},
		"two versions":            {[][]byte{version, version}, nil, "a second version"},
		"an answer":               {[][]byte{version, raw(0, wire.CmdDMARead, wire.FlagReply, nothing{})}, nil, "not asked"},
		"too many descriptors":    {[][]byte{version}, fds, "file descriptors"},
		"a command without reply": {[][]byte{version, raw(1, wire.CmdReset, wire.FlagNoReply, nothing{})}, nil, "it has ended the connection"},
	} {
		fd, err := connect(t.Context(), v.Path(), time.Now().Add(10*time.Second))
		require.NoError(t, err, name)
		s := newSocket(fd)
		for _, b := range c.sent {
			require.NoError(t, s.send(b, c.fds, time.Now().Add(time.Second)), name)
		}
		require.NoError(t, unix.Shutdown(fd, unix.SHUT_WR))
		for err = nil; err == nil; {
			_, err = s.receive(time.Now().Add(10*time.Second), time.Second, -1)
		}
		require.True(t, errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET), "%s: %v", name, err)
		require.NoError(t, s.close())
		require.Contains(t, v.wait(t, "client gone"), c.want, name)
	}
	// A client that begins a message and does not go on, and one that does not read.
	fd, err := connect(t.Context(), v.Path(), time.Now().Add(10*time.Second))
	require.NoError(t, err)
	s := newSocket(fd)
	require.NoError(t, s.send(version[:20], nil, time.Now().Add(time.Second)))
	require.Contains(t, v.wait(t, "client gone"), "timed out")
	require.NoError(t, s.close())

	fd, err = connect(t.Context(), v.Path(), time.Now().Add(10*time.Second))
	require.NoError(t, err)
	s = newSocket(fd)
	require.NoError(t, s.send(version, nil, time.Now().Add(time.Second)))
	for err = nil; err == nil; {
		err = s.send(raw(1, wire.CmdRegionRead, 0, &wire.RegionAccess{Region: wire.RegionBAR0, Count: 4096}), nil, time.Now().Add(time.Second))
	}
	require.Contains(t, v.wait(t, "client gone"), "timed out")
	require.NoError(t, s.close())

	c := open(t, v)
	_, err = c.Load64(0)
	require.NoError(t, err)
}

// fuzzTimeout is short: half a message makes the other end wait for it.
const fuzzTimeout = 10 * time.Millisecond

// FuzzServer feeds a session what a client could send.
func FuzzServer(f *testing.F) {
	version := raw(0, wire.CmdVersion, 0, goodVersion)
	add := func(messages ...[]byte) {
		b := append([]byte(nil), version...)
		for _, m := range messages {
			b = append(b, m...)
		}
		f.Add(b, true)
		f.Add(b, false)
	}
	add(raw(1, wire.CmdDeviceInfo, 0, &wire.DeviceInfo{}), raw(1, wire.CmdRegionInfo, 0, regionInfoRequest(0)))
	add(raw(1, wire.CmdDMAMap, 0, &wire.DMAMap{Flags: 3, Address: 4096, Size: 4096}), raw(1, wire.CmdDMAUnmap, 0, &wire.DMAUnmap{Address: 4096, Size: 4096}))
	add(raw(1, wire.CmdSetIRQs, 0, &wire.IRQSet{Flags: wire.IRQDataEventfd | wire.IRQTrigger, Index: 2, Count: 1}), raw(1, wire.CmdReset, 0, nothing{}))
	add(raw(1, wire.CmdRegionWrite, 0, &wire.RegionAccess{Region: 7, Offset: 4, Count: 2, Data: []byte{7, 4}}), raw(1, wire.CmdRegionRead, 0, &wire.RegionAccess{Region: 4, Count: 64}))
	add(raw(1, wire.CmdDMAMap, 0, &wire.DMAMap{Flags: 3, Address: 4096, Size: 4096}), raw(1, wire.CmdRegionWrite, 0, &wire.RegionAccess{Region: 0, Offset: regRing, Count: 8, Data: []byte{0, 16, 0, 0, 0, 0, 0, 0}}),
		raw(1, wire.CmdRegionWrite, 0, &wire.RegionAccess{Region: 0, Offset: regCC, Count: 4, Data: []byte{1, 0, 0, 0}}), raw(1, wire.CmdRegionWrite, 0, &wire.RegionAccess{Region: 0, Offset: 4096, Count: 4, Data: []byte{1, 0, 0, 0}}),
		raw(1, wire.CmdDMARead, wire.FlagReply, &wire.DMAAccess{Address: 4096, Count: 32, Data: make([]byte, 32)}))
	f.Fuzz(func(t *testing.T, b []byte, withFD bool) {
		ours, theirs := pair(t)
		srv := &Server{device: newFake(), listener: -1, o: ServerOptions{Timeout: fuzzTimeout}.withDefaults()}
		ss, err := newSession(srv, ours, -1)
		require.NoError(t, err)
		client := newSocket(theirs)
		var fds []int
		if withFD {
			fd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
			require.NoError(t, err)
			defer unix.Close(fd)
			require.NoError(t, unix.Ftruncate(fd, 1<<16))
			fds = []int{fd}
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_ = client.send(b, fds, time.Now().Add(time.Second)) // the session may have ended
			_ = unix.Shutdown(theirs, unix.SHUT_WR)
			for err := error(nil); err == nil; {
				var m *message
				if m, err = client.receive(time.Now().Add(10*time.Second), time.Second, -1); err == nil {
					m.closeFDs()
				}
			}
		}()
		require.Error(t, ss.run())
		require.NoError(t, ss.close())
		<-sent
		require.NoError(t, client.close())
	})
}

// FuzzClient answers a client with what a server could send.
func FuzzClient(f *testing.F) {
	reply := wire.FlagReply
	good := [][]byte{
		raw(0, wire.CmdVersion, reply, goodVersion),
		raw(1, wire.CmdDeviceInfo, reply, &wire.DeviceInfo{Flags: 3, Regions: 9, IRQs: 5}),
		raw(2, wire.CmdRegionInfo, reply, &regionInfo{wire.RegionInfo{Flags: 7, Size: 8192, Areas: []wire.Area{{Offset: 4096, Size: 4096}}}}),
		raw(3, wire.CmdIRQInfo, reply, &wire.IRQInfo{Flags: 1, Index: 2, Count: 3}),
		raw(4, wire.CmdRegionRead, reply, &wire.RegionAccess{Region: 7, Offset: 4, Count: 2, Data: []byte{0, 0}}),
		raw(5, wire.CmdRegionWrite, reply, &wire.RegionAccess{Region: 7, Offset: 4, Count: 2}),
		raw(6, wire.CmdDMAMap, reply, nothing{}),
		raw(9, wire.CmdDMARead, 0, &wire.DMAAccess{Address: 0, Count: 8}),
	}
	all := []byte{}
	for _, m := range good {
		all = append(all, m...)
		f.Add(append([]byte(nil), all...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := pair(t)
		server := newSocket(theirs)
		memfd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
		require.NoError(t, err)
		defer unix.Close(memfd)
		require.NoError(t, unix.Ftruncate(memfd, 8192))
		done := make(chan struct{})
		go func() { // each message after one of the client, as an answer
			defer close(done)
			for len(b) > 0 {
				if _, err := server.receive(time.Now().Add(fuzzTimeout), fuzzTimeout, -1); err != nil {
					break
				}
				n := len(b)
				if n >= wire.HeaderSize {
					n = min(n, max(1, int(binary.LittleEndian.Uint32(b[4:]))))
				}
				if server.send(b[:n], []int{memfd}, time.Now().Add(time.Second)) != nil {
					break
				}
				b = b[n:]
			}
			server.shutdown()
		}()
		c, err := newClient("fuzz", ours, Options{Timeout: fuzzTimeout})
		if err == nil {
			if m, err := c.Alloc(4096); err == nil {
				_ = c.Free(m) // any outcome but a hang or a panic
			}
			_, _ = c.Load64(0)
			_ = c.Interrupt(0, memfd)
			_ = c.Close()
		}
		<-done
		require.NoError(t, server.close())
	})
}

// TestNonsenseAnswers has a client answer wrongly when the server reads its memory by a message. The session ends, and says why.
func TestNonsenseAnswers(t *testing.T) {
	v := serve(t, newFake(), ServerOptions{Timeout: 200 * time.Millisecond})
	const at = 1 << 20
	write := func(offset uint64, p ...byte) []byte {
		return raw(1, wire.CmdRegionWrite, 0, &wire.RegionAccess{Region: wire.RegionBAR0, Offset: offset, Count: uint32(len(p)), Data: p})
	}
	data := func(address, n uint64) func(uint16) []byte {
		return func(id uint16) []byte {
			return raw(id, wire.CmdDMARead, wire.FlagReply, &wire.DMAAccess{Address: address, Count: n, Data: make([]byte, n)})
		}
	}
	none := &wire.DMAAccess{Address: at, Count: descSize}
	many := bytes.Repeat(raw(1, wire.CmdRegionRead, 0, &wire.RegionAccess{Region: wire.RegionConfig, Count: 4}), maxEarly+1)
	wakes := bytes.Repeat(raw(1, wire.CmdRegionRead, wire.FlagNoReply, &wire.RegionAccess{Region: wire.RegionBAR0, Count: 4}), 3*maxEarly)
	for name, c := range map[string]struct {
		answer func(id uint16) []byte
		want   string
	}{
		"nothing":         {func(uint16) []byte { return nil }, "timed out"},
		"wakes alone":     {func(uint16) []byte { return wakes }, "timed out"},
		"other commands":  {func(uint16) []byte { return many }, "64 commands while an answer is due"},
		"another number":  {func(id uint16) []byte { return data(at, descSize)(id + 1) }, "not asked"},
		"another command": {func(id uint16) []byte { return raw(id, wire.CmdDMAWrite, wire.FlagReply, none) }, "not asked"},
		"other memory":    {data(at+8, descSize), "answered with"},
		"less":            {data(at, descSize-1), "answered with"},
		"more":            {data(at, descSize+1), "answered with"},
		"no data":         {func(id uint16) []byte { return raw(id, wire.CmdDMARead, wire.FlagReply, none) }, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			fd, err := connect(t.Context(), v.Path(), time.Now().Add(10*time.Second))
			require.NoError(t, err)
			s := newSocket(fd)
			send := func(b []byte) { require.NoError(t, s.send(b, nil, time.Now().Add(time.Second))) }
			receive := func() *message {
				m, err := s.receive(time.Now().Add(10*time.Second), time.Second, -1)
				require.NoError(t, err)
				return m
			}
			for _, b := range [][]byte{raw(0, wire.CmdVersion, 0, goodVersion), raw(1, wire.CmdDMAMap, 0, &wire.DMAMap{Flags: 3, Address: at, Size: 1 << 16}),
				write(regRing, 0, 0, at>>16, 0, 0, 0, 0, 0), write(regCC, 1, 0, 0, 0), write(barRegisters, 1, 0, 0, 0)} {
				send(b)
				m := receive()
				require.True(t, m.IsReply())
				require.Zero(t, m.Flags&wire.FlagError)
			}
			m := receive()
			require.Equal(t, wire.CmdDMARead, m.Command, "the first descriptor")
			if b := c.answer(m.ID); b != nil {
				send(b)
			}
			require.Contains(t, v.wait(t, "client gone"), c.want)
			require.NoError(t, s.close())
		})
	}
}
