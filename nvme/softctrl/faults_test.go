package softctrl_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// suffering is a host of a controller with two namespaces and a clock of the test.
type suffering struct {
	*host
	soft *softctrl.Controller
	disk softctrl.Storage // of namespace 1
	now  time.Duration
}

func newSuffering(t *testing.T) *suffering {
	s := &suffering{}
	spaces := append(oneSpace(t), oneSpace(t)...)
	s.disk = spaces[0].Storage
	s.host = newHost(t, softctrl.Config{Now: func() time.Duration { return s.now }, Namespaces: spaces}, 16)
	s.soft = s.tr.Controller()
	return s
}

func (s *suffering) command(opcode uint8, nsid uint32) spec.Command {
	return spec.Command{Opcode: opcode, NSID: nsid, PRP1: s.mem.IOVA + atData}
}

// send sends a command and returns its identifier; completed tells what has come since.
func (s *suffering) send(q int, c spec.Command) uint16 {
	cid := s.put(q, c)
	s.ring(q)
	return cid
}

func (s *suffering) completed(q int) (cids []uint16) {
	for e, ok := s.take(q); ok; e, ok = s.take(q) {
		cids = append(cids, e.CID)
	}
	s.hear(q)
	return cids
}

// written is the first byte of namespace 1 as a read finds it.
func (s *suffering) written() byte {
	s.mem.Bytes[atData] = 0xee
	require.Equal(s.t, spec.StatusSuccess, s.io(s.command(spec.CmdRead, 1)))
	return s.mem.Bytes[atData]
}

// TestFaultsMatch: a fault meets the commands that it says, after those it lets pass, as often as it says, in the order of injection.
func TestFaultsMatch(t *testing.T) {
	s := newSuffering(t)
	bad := spec.StatusWriteFault
	fault := softctrl.Fault{Opcode: spec.CmdWrite, NSID: 2, Skip: 1, Times: 2, Do: softctrl.FailWith, Status: bad}
	s.soft.Inject(fault)
	for i, want := range []spec.Status{spec.StatusSuccess, bad, bad, spec.StatusSuccess} {
		require.Equal(t, spec.StatusSuccess, s.io(s.command(spec.CmdWrite, 1)), "another namespace")
		require.Equal(t, spec.StatusSuccess, s.io(s.command(spec.CmdRead, 2)), "another command")
		require.Equal(t, want, s.io(s.command(spec.CmdWrite, 2)), i)
	}
	s.soft.Inject(softctrl.Fault{Opcode: softctrl.AnyOpcode, Times: -1, Do: softctrl.FailWith, Status: bad})
	s.soft.Inject(softctrl.Fault{Opcode: softctrl.AnyOpcode, Times: -1, Do: softctrl.FailWith, Status: spec.StatusUnrecoveredRead})
	identify := spec.Command{Opcode: spec.AdminIdentify, CDW10: spec.CNSController, PRP1: s.mem.IOVA + atData}
	for range 3 {
		require.Equal(t, bad, s.io(s.command(spec.CmdRead, 1)))
		require.Equal(t, spec.StatusSuccess, s.admin(identify), "not an I/O command")
	}
	s.soft.ClearFaults()
	require.Equal(t, spec.StatusSuccess, s.io(s.command(spec.CmdRead, 1)))

	s.soft.Inject(softctrl.Fault{Admin: true, Opcode: softctrl.AnyOpcode, Do: softctrl.FailWith, Status: bad})
	require.Equal(t, spec.StatusSuccess, s.io(s.command(spec.CmdRead, 1)), "not an admin command")
	s.send(0, spec.Command{Opcode: spec.AdminAsyncEvent})
	require.Empty(t, s.completed(0), "requests for events are spared")
	require.Equal(t, bad, s.admin(identify))
	require.Equal(t, spec.StatusSuccess, s.admin(identify), "once")
}

// TestFaultsOfCarriedOut: what is lost, or cut off, has been carried out.
func TestFaultsOfCarriedOut(t *testing.T) {
	s := newSuffering(t)
	s.mem.Bytes[atData] = 1
	s.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: softctrl.Lose})
	lost := s.send(1, s.command(spec.CmdWrite, 1))
	require.Empty(t, s.completed(1))
	require.EqualValues(t, 1, s.written())
	e := s.run(0, spec.Command{Opcode: spec.AdminAbort, CDW10: 1 | uint32(lost)<<16})
	require.EqualValues(t, 1, e.DW0, "an abort does not find it")

	s.mem.Bytes[atData] = 2
	s.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: softctrl.FailWith, Status: spec.StatusWriteFault})
	require.Equal(t, spec.StatusWriteFault, s.io(s.command(spec.CmdWrite, 1)))
	require.EqualValues(t, 1, s.written(), "what fails has not")

	s.mem.Bytes[atData] = 3
	s.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: softctrl.CutPower})
	s.send(1, s.command(spec.CmdWrite, 1))
	_, completed := s.take(1)
	require.False(t, completed)
	require.False(t, s.soft.Enabled())
	var got [1]byte
	_, err := s.disk.ReadAt(got[:], 0)
	require.NoError(t, err)
	require.EqualValues(t, 3, got[0])
}

// TestFaultsThatWait: a slow command is carried out once, when its time has come, unless it is aborted or its queue has gone; one that
// hangs waits for its abort.
func TestFaultsThatWait(t *testing.T) {
	s := newSuffering(t)
	s.mem.Bytes[atData] = 1
	s.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: softctrl.Slow, Delay: time.Second})
	slow := s.send(1, s.command(spec.CmdWrite, 1))
	s.now += time.Second - 1
	s.soft.Process()
	require.Empty(t, s.completed(1))
	require.Zero(t, s.written())
	require.Equal(t, 1, s.soft.Deferred())
	s.mem.Bytes[atData] = 1
	s.now++
	s.soft.Process()
	require.Equal(t, []uint16{slow}, s.completed(1))
	require.EqualValues(t, 1, s.written())
	require.Zero(t, s.soft.Deferred())

	s.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: softctrl.Slow, Delay: time.Second})
	s.soft.Inject(softctrl.Fault{Opcode: spec.CmdFlush, Times: 2, Do: softctrl.Hang})
	slow = s.send(1, s.command(spec.CmdWrite, 1))
	first, second := s.send(1, s.command(spec.CmdFlush, 1)), s.send(1, s.command(spec.CmdFlush, 1))
	abort := func(q uint32, cid uint16) uint32 {
		return s.run(0, spec.Command{Opcode: spec.AdminAbort, CDW10: q | uint32(cid)<<16}).DW0
	}
	require.EqualValues(t, 1, abort(0, second), "of another queue")
	require.EqualValues(t, 1, abort(1, second+100), "of another number")
	require.Zero(t, abort(1, second))
	require.Equal(t, []uint16{second}, s.completed(1))
	require.EqualValues(t, 1, abort(1, second), "once")
	require.Zero(t, abort(1, slow))
	require.Equal(t, []uint16{slow}, s.completed(1))
	s.now += time.Hour
	s.soft.Process()
	require.Empty(t, s.completed(1), "the other hangs")
	require.Zero(t, abort(1, first))
	require.Equal(t, []uint16{first}, s.completed(1))

	s.soft.Inject(softctrl.Fault{Opcode: spec.CmdWrite, Times: 2, Do: softctrl.Slow, Delay: time.Second})
	s.mem.Bytes[atData] = 9
	s.send(1, s.command(spec.CmdWrite, 1))
	require.Equal(t, spec.StatusSuccess, s.admin(spec.Command{Opcode: spec.AdminDeleteSQ, CDW10: 1}))
	s.now += time.Second
	s.soft.Process()
	require.Empty(t, s.completed(1), "its queue has gone")

	s = newSuffering(t)
	s.soft.Inject(softctrl.Fault{Opcode: spec.CmdFlush, Do: softctrl.Hang})
	s.send(1, s.command(spec.CmdFlush, 1))
	require.Equal(t, 1, s.soft.Deferred())
	require.NoError(t, s.tr.Reset())
	require.Zero(t, s.soft.Deferred(), "nor does anything outlive a reset")
}
