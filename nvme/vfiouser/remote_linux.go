package vfiouser

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// maxEarly bounds the commands that a client sends while it owes an answer.
const maxEarly = 64

// remoteAccess reads or writes memory of the client that came without a descriptor, by messages. One that does not answer
// in time, or wrongly, ends the session.
func (ss *session) remoteAccess(write bool, iova uint64, p []byte) error {
	if ss.fault != nil {
		return ss.fault
	}
	for len(p) > 0 {
		n := min(len(p), ss.peer.MaxTransfer, wire.MaxTransfer)
		err := ss.remotePiece(write, iova, p[:n])
		if refused := unix.Errno(0); errors.As(err, &refused) && errors.Is(err, errRefused) {
			return err
		}
		if err != nil {
			ss.fault = err
			return err
		}
		iova, p = iova+uint64(n), p[n:]
	}
	return nil
}

// errRefused is a command of the server that the client answered with an error.
var errRefused = errors.New("the client refused")

func (ss *session) remotePiece(write bool, iova uint64, p []byte) error {
	cmd, access := wire.CmdDMARead, wire.DMAAccess{Address: iova, Count: uint64(len(p))}
	if write {
		cmd, access.Data = wire.CmdDMAWrite, p
	}
	ss.nextID++
	end := time.Now().Add(ss.server.o.Timeout)
	b := finish(access.Append(frame(nil)), wire.Header{ID: ss.nextID, Command: cmd})
	if err := ss.s.send(b, nil, end); err != nil {
		return err
	}
	m, err := ss.awaitReply(cmd, end)
	if err != nil {
		return err
	}
	defer m.closeFDs()
	if m.Flags&wire.FlagError != 0 {
		return fmt.Errorf("%v of %d bytes at %#x: %w: %w", cmd, len(p), iova, errRefused, unix.Errno(m.Errno))
	}
	a, err := wire.ParseDMAAccess(m.payload, !write)
	switch {
	case err != nil:
		return err
	case a.Count != uint64(len(p)) || a.Address != iova:
		return fmt.Errorf("%w: %v of %d bytes at %#x answered with %d at %#x", ErrProtocol, cmd, len(p), iova, a.Count, a.Address)
	case !write:
		copy(p, a.Data)
	}
	return nil
}

// awaitReply returns the answer to the last command sent. Commands that come before it are kept for later.
func (ss *session) awaitReply(cmd wire.Command, end time.Time) (*message, error) {
	for {
		m, err := ss.s.receive(end, time.Until(end), ss.stop)
		if err != nil {
			return nil, err
		}
		switch {
		case m.IsReply() && m.ID == ss.nextID && m.Command == cmd:
			return m, nil
		case m.Command == wire.CmdRegionRead && m.Flags&wire.FlagNoReply != 0: // a client that wakes the server (Client.Wake), which is awake
			m.closeFDs()
			continue
		case m.IsReply():
			err = fmt.Errorf("%w: an answer to %v, which was not asked", ErrProtocol, m.Command)
		case len(ss.early) >= maxEarly:
			err = fmt.Errorf("%w: %d commands while an answer is due", ErrProtocol, maxEarly)
		}
		if err != nil {
			m.closeFDs()
			return nil, err
		}
		m.payload = append([]byte(nil), m.payload...)
		ss.early = append(ss.early, m)
	}
}
