package vfiouser

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/internal/memfault"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// session is one client and the controller that it uses. Everything happens on the goroutine of Serve.
type session struct {
	server *Server
	ctrl   Controller
	info   Info
	s      *socket
	stop   int
	out    []byte

	negotiated bool
	peer       wire.Capabilities
	memory     hostMemory
	config     *configSpace
	doorbells  []byte // shared with the client
	bar        []byte // the file that they are part of: offsets in it are those in BAR 0
	barFD      int
	msix       []byte // what the client stores in BAR 4
	vectors    []int  // eventfds, -1: none
	early      []*message
	nextID     uint16
	fault      error // what a callback of the controller found

	idle  int       // polls without work in a row
	busy  int       // polls with work since the socket was looked at
	quiet time.Time // since when there is no work; zero while there is
}

// Pacing. A poll takes some 20 ns, a look at the socket 300.
const (
	idlePolls = 256 // polls without work before the clock and the socket are looked at
	busyPolls = 64  // polls with work before the socket is looked at
)

const barRegisters = 4096 // the doorbells follow (NVMe base 2.0, section 3.1.3)

func newSession(srv *Server, fd, stop int) (*session, error) {
	info := srv.device.Info()
	size := (info.DoorbellBytes + int(pageSize) - 1) &^ (int(pageSize) - 1)
	barFD, bar, err := makeShared(barRegisters+size, false)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	ss := &session{server: srv, info: info, s: newSocket(fd), stop: stop,
		bar: bar, barFD: barFD, doorbells: bar[barRegisters:][:size],
		msix: make([]byte, msixBARSize), vectors: make([]int, info.Vectors)}
	for i := range ss.vectors {
		ss.vectors[i] = -1
	}
	ss.memory.remote = ss.remoteAccess
	ss.initConfig()
	ss.ctrl, err = srv.device.Attach(Host{Doorbells: ss.doorbells[:info.DoorbellBytes], Memory: &ss.memory, Interrupt: ss.interrupt})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a controller: %w", err), ss.close())
	}
	return ss, nil
}

func (ss *session) initConfig() {
	ss.config = newConfigSpace(ss.info, ss.barSize())
	clear(ss.msix)
	for v := range ss.vectors {
		ss.msix[msixTable+v*msixEntry+msixMaskByte] = 1
	}
}

// barSize is a power of two, as PCI wants it.
func (ss *session) barSize() uint64 {
	size := uint64(barRegisters)
	for size < barRegisters+uint64(len(ss.doorbells)) {
		size *= 2
	}
	return size
}

// close ends the controller and lets go of everything that the client gave.
func (ss *session) close() error {
	var err error
	if ss.ctrl != nil {
		err = ss.ctrl.Detach()
	}
	err = errors.Join(err, ss.memory.removeAll())
	for v := range ss.vectors {
		ss.setVector(v, -1)
	}
	for _, m := range ss.early {
		m.closeFDs()
	}
	return errors.Join(err, unix.Munmap(ss.bar), unix.Close(ss.barFD), ss.s.close())
}

// run serves until the client is gone, does something that cannot be answered, or the server is stopped.
func (ss *session) run() error {
	debug.SetPanicOnFault(true) // of this goroutine; memory of the client whose file was cut short
	defer debug.SetPanicOnFault(false)
	for {
		if err := ss.guard(ss.step); err != nil {
			return err
		}
	}
}

// guard turns a fault in the client's memory into an error. Other panics are mistakes of this program.
func (ss *session) guard(f func() error) (err error) {
	defer memfault.Recover(&err)
	return f()
}

// step polls the controller, and now and then the socket.
func (ss *session) step() error {
	for {
		if n := ss.ctrl.Poll(); n > 0 {
			ss.server.stats.work.Add(uint64(n))
			ss.idle, ss.quiet = 0, time.Time{}
			if ss.busy++; ss.busy < busyPolls {
				continue
			}
		} else if ss.idle++; ss.idle < idlePolls {
			continue
		}
		ss.idle, ss.busy = 0, 0
		if ss.fault != nil {
			return ss.fault
		}
		return ss.listen(ss.pace())
	}
}

// listen waits for a message, a further client or the end, and handles one message.
func (ss *session) listen(wait time.Duration) error {
	if len(ss.early) > 0 {
		m := ss.early[0]
		ss.early = ss.early[1:]
		return ss.handle(m)
	}
	fds := [3]unix.PollFd{{Fd: int32(ss.s.fd), Events: unix.POLLIN}, {Fd: int32(ss.stop), Events: unix.POLLIN}, {Fd: int32(ss.server.listener), Events: unix.POLLIN}}
	var timeout *unix.Timespec
	if wait >= 0 {
		ts := unix.NsecToTimespec(int64(wait))
		timeout = &ts
	}
	n, err := unix.Ppoll(fds[:], timeout, nil)
	switch {
	case err != nil && err != unix.EINTR:
		return err
	case n <= 0:
		if wait > 0 {
			ss.idle = idlePolls - 1 // one look at the doorbells is enough after a sleep
		}
		return nil
	case fds[1].Revents != 0:
		return errStopped
	case fds[2].Revents != 0:
		if err := ss.server.refuse(); err != nil {
			return err
		}
	}
	if fds[0].Revents == 0 {
		return nil
	}
	m, err := ss.s.receive(time.Time{}, ss.server.o.Timeout, -1)
	if errors.Is(err, io.EOF) {
		return errors.New("it has ended the connection")
	}
	if err != nil {
		return err
	}
	return ss.handle(m)
}

// handle carries a command out and answers it.
func (ss *session) handle(m *message) error {
	defer m.closeFDs() // those that nobody took
	ss.server.stats.messages.Add(1)
	ss.quiet = time.Time{}
	if m.IsReply() {
		return fmt.Errorf("%w: an answer to %v, which was not asked", ErrProtocol, m.Command)
	}
	if !ss.negotiated && m.Command != wire.CmdVersion {
		return fmt.Errorf("%w: %v before the version", ErrProtocol, m.Command)
	}
	r := reply{b: frame(ss.out)}
	err := ss.dispatch(m, &r)
	ss.out = r.b
	if fatal := (*fatalError)(nil); errors.As(err, &fatal) {
		_ = ss.answer(m, &r, err) // the client may know already; the session ends anyway
		return fatal.err
	}
	if m.Flags&wire.FlagNoReply != 0 {
		return nil
	}
	return ss.answer(m, &r, err)
}

// reply is an answer under construction.
type reply struct {
	b   []byte
	fds []int // stay the session's
}

// fatalError ends the session after its message was answered.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

func (ss *session) answer(m *message, r *reply, err error) error {
	h := wire.Header{ID: m.ID, Command: m.Command, Flags: wire.FlagReply}
	if err != nil {
		h.Flags |= wire.FlagError
		h.Errno = uint32(errnoOf(err))
		r.b, r.fds = r.b[:wire.HeaderSize], nil
		ss.server.o.Log(fmt.Sprintf("refused: %v: %v", m.Command, err))
	}
	return ss.s.send(finish(r.b, h), r.fds, time.Now().Add(ss.server.o.Timeout))
}

// errnoOf is the error number that says best what is wrong.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, os.ErrExist):
		return unix.EEXIST
	default:
		return unix.EINVAL
	}
}
