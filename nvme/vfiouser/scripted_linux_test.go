package vfiouser

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// scripted is a server that says what it is told to.
type scripted struct {
	device wire.DeviceInfo
	bar    wire.RegionInfo
	file   int // of BAR 0, 0 for none
	irqs   wire.IRQInfo
	config [pciConfigSize]byte
	read   func(a *wire.RegionAccess) // changes the answer to a read of a register
}

func newScripted() *scripted {
	return &scripted{
		device: wire.DeviceInfo{Flags: wire.DevicePCI | wire.DeviceReset, Regions: wire.NumRegions, IRQs: wire.NumIRQs},
		bar:    wire.RegionInfo{Flags: wire.RegionRead | wire.RegionWrite, Size: 8192},
		irqs:   wire.IRQInfo{Flags: wire.IRQEventfd, Index: wire.IRQMSIX, Count: 3},
	}
}

// answer is what it says to a message.
func (s *scripted) answer(m *message) (appender, []int) {
	switch m.Command {
	case wire.CmdVersion:
		return goodVersion, nil
	case wire.CmdDeviceInfo:
		return &s.device, nil
	case wire.CmdRegionInfo:
		if s.file > 0 {
			return &regionInfo{s.bar}, []int{s.file}
		}
		return &regionInfo{s.bar}, nil
	case wire.CmdIRQInfo:
		return &s.irqs, nil
	case wire.CmdRegionRead, wire.CmdRegionWrite:
		a, err := wire.ParseRegionAccess(m.payload, m.Command == wire.CmdRegionWrite)
		if err != nil || m.Command == wire.CmdRegionWrite {
			a.Data = nil
			return &a, nil
		}
		if a.Data = make([]byte, a.Count); a.Region == wire.RegionConfig {
			copy(a.Data, s.config[a.Offset:])
		} else if s.read != nil {
			s.read(&a)
		}
		return &a, nil
	}
	return nothing{}, nil
}

// open connects a client to it.
func (s *scripted) open(t *testing.T) (*Client, error) {
	ours, theirs := pair(t)
	go func() {
		their := newSocket(theirs)
		for {
			m, err := their.receive(time.Time{}, time.Second, -1)
			if err != nil {
				break
			}
			m.closeFDs()
			payload, fds := s.answer(m)
			_ = their.send(raw(m.ID, m.Command, wire.FlagReply, payload), fds, time.Now().Add(time.Second)) // the client may be gone
		}
		_ = their.close()
	}()
	c, err := newClient("it", ours, Options{Timeout: 5 * time.Second})
	if err == nil {
		t.Cleanup(func() { require.NoError(t, c.Close()) })
	}
	return c, err
}

// TestPoorServer: a client does without what a server does not have.
func TestPoorServer(t *testing.T) {
	checkFDs(t)
	t.Cleanup(func() { settle(t) })
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Close(event)) })
	s := newScripted()
	s.device.Flags &^= wire.DeviceReset
	s.device.IRQs = wire.IRQMSIX
	c, err := s.open(t)
	require.NoError(t, err)
	require.Zero(t, c.Vectors())
	require.ErrorIs(t, c.Interrupt(0, event), nvme.ErrUnsupported)
	require.ErrorIs(t, c.Reset(), nvme.ErrUnsupported)
	require.Nil(t, c.Window(barRegisters, 4))
	require.False(t, c.Sleeps())

	s = newScripted()
	s.irqs.Flags = 0
	c, err = s.open(t)
	require.NoError(t, err)
	require.Zero(t, c.Vectors(), "some, that signal no eventfd")

	for _, listed := range []bool{false, true} { // the capability of MSI-X, behind another one
		s = newScripted()
		if listed {
			s.config[pciCapPointer], s.config[0x40], s.config[0x41], s.config[0x80] = 0x40, pciCapPowerMgmt, 0x80, pciCapMSIX
		}
		c, err = s.open(t)
		require.NoError(t, err)
		require.NoError(t, c.Interrupt(2, event))
	}
}

// TestNonsenseRegisters: a server whose answers to accesses are not of their form is gone.
func TestNonsenseRegisters(t *testing.T) {
	checkFDs(t)
	t.Cleanup(func() { settle(t) })
	for name, change := range map[string]func(a *wire.RegionAccess){
		"less data":    func(a *wire.RegionAccess) { a.Count, a.Data = a.Count-1, a.Data[1:] },
		"more data":    func(a *wire.RegionAccess) { a.Count, a.Data = a.Count+1, append(a.Data, 1) },
		"missing data": func(a *wire.RegionAccess) { a.Data = nil },
	} {
		s := newScripted()
		s.read = change
		c, err := s.open(t)
		require.NoError(t, err)
		_, err = c.Load32(0)
		require.ErrorIs(t, err, ErrProtocol, name)
		require.ErrorIs(t, c.Store32(0, 1), nvme.ErrGone, name)
	}
	s := newScripted()
	s.config[pciCapPointer], s.config[0x40], s.config[0x41] = 0x40, pciCapPowerMgmt, 0x40
	c, err := s.open(t)
	require.NoError(t, err)
	require.ErrorContains(t, c.Interrupt(0, 1), "does not end")
}

// TestNonsenseWindows: of what a server offers to be mapped, nothing is that its file does not hold, nor more than makes sense.
func TestNonsenseWindows(t *testing.T) {
	checkFDs(t)
	t.Cleanup(func() { settle(t) })
	file, b, err := makeShared(8192, false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, errors.Join(unix.Munmap(b), unix.Close(file))) })
	for name, c := range map[string]struct {
		size   uint64
		areas  []wire.Area
		want   error
		memory [2]bool // the page of the registers, that of the doorbells
	}{
		"all of it":           {8192, nil, nil, [2]bool{true, true}},
		"a part":              {8192, []wire.Area{{Offset: 4096, Size: 4096}}, nil, [2]bool{false, true}},
		"two parts":           {8192, []wire.Area{{Size: 4096}, {Offset: 4096, Size: 4096}}, nil, [2]bool{true, true}},
		"larger than it is":   {12288, nil, errShortFile, [2]bool{}},
		"a part behind it":    {16384, []wire.Area{{Offset: 8192, Size: 4096}}, errShortFile, [2]bool{}},
		"half a page":         {8192, []wire.Area{{Size: 2048}}, nil, [2]bool{}},
		"from within a page":  {8192, []wire.Area{{Offset: 2048, Size: 4096}}, nil, [2]bool{}},
		"more than a machine": {1 << 40, []wire.Area{{Size: maxWindows + 4096}}, ErrProtocol, [2]bool{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted()
			s.file, s.bar.Size, s.bar.Areas, s.bar.Flags = file, c.size, c.areas, s.bar.Flags|wire.RegionMmap
			client, err := s.open(t)
			require.ErrorIs(t, err, c.want)
			if err != nil {
				return
			}
			require.Equal(t, c.memory[0] || c.memory[1], client.Sleeps())
			for page, memory := range c.memory {
				at := page * 4096
				for _, offset := range []int{at, at + 4092} {
					w := client.Window(uint32(offset), 4)
					require.Equal(t, memory, w != nil, "%#x", offset)
					if memory {
						b[offset]++
						require.Equal(t, b[offset], w[0], "%#x", offset)
					}
				}
				require.Empty(t, client.Window(uint32(at+4094), 8192))
			}
			require.Nil(t, client.Window(8192, 4))
			require.Nil(t, client.Window(4096, 0))
		})
	}
}
